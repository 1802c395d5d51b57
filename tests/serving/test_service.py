"""What the workers of one service share."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path

from ctrlplane_gitops.app import Where, open_app
from ctrlplane_gitops.clock import SystemClock
from ctrlplane_gitops.config import load_settings
from ctrlplane_gitops.serving.following import load_followed
from ctrlplane_gitops.serving.output import Output
from ctrlplane_gitops.serving.service import Intervals, Service
from tests.bench.fleet import make_fleet

_CALL = re.compile(r'^ctrlplane_provider_calls_total\{call="(\w+)",provider="here"\} (\S+)', re.M)


class StillClock(SystemClock):
    """Time does not go on, so nothing that was seen gets older; who waits does wait."""

    def __init__(self) -> None:
        self._now = super().now()

    def now(self) -> datetime:
        return self._now


def test_the_look_of_a_pass_is_that_of_all_who_watch(tmp_path: Path) -> None:
    fleet, cancel = make_fleet(tmp_path, 3), threading.Event()
    settings, where = load_settings(fleet.environ), Where(str(fleet.repo), "main")
    with open_app(
        settings, fleet.environ, StillClock(), where, cancel, lambda effect: None
    ) as app:  # fmt: skip
        followed = load_followed(fleet.environ, str(fleet.repo))
        service = Service(app, cancel, Intervals(), Output(lambda text: None), followed)
        workers = service.scheduler.workers
        try:
            for name in ("source", "reconciler"):
                assert not workers[name].run().error
            while "ctrlplane_passes_total{" not in service.views.render_metrics().decode():
                time.sleep(0.01)
            for name in ("status", "health", "telemetry", "status"):
                assert not workers[name].run().error
            figures = service.views.render_metrics().decode()
        finally:
            cancel.set()
            assert service.stop(timedelta(seconds=10))
            service.close()
    assert 'ctrlplane_instances{phase="running"} 3.0' in figures
    assert 'ctrlplane_replicas_running{provider="here"} 3.0' in figures
    calls = Counter({call: float(count) for call, count in _CALL.findall(figures)})
    assert calls["observe"] == 1
    assert calls["watch"] == 0
