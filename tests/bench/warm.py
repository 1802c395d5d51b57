"""A controller that stays: ``python -m tests.bench.warm URL REF`` makes a pass for every line it is
given, and answers with one line of JSON.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import threading
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

from ctrlplane_gitops.app import App, Plane, Where, open_app, open_plane
from ctrlplane_gitops.cli.plan import gc_off
from ctrlplane_gitops.clock import SystemClock, monotonic_s
from ctrlplane_gitops.config import load_settings
from ctrlplane_gitops.plan.change import Policy
from ctrlplane_gitops.providers.base import Provider
from ctrlplane_gitops.reconcile.follow import Follower
from ctrlplane_gitops.reconcile.gather import Wanted
from ctrlplane_gitops.reconcile.look import look
from ctrlplane_gitops.state.desired import DesiredState
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.observed import ObservedState


class Counted:
    """A provider that counts how often it is looked at."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self.reads = 0

    def observe(self, keys: Collection[ResourceKey] | None = None) -> ObservedState:
        self.reads += 1
        return self._provider.observe(keys)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._provider, name)


def make_pass(app: App, plane: Plane, follower: Follower) -> Callable[[], int]:
    """One pass over whatever Git says by now, up to its plan; how many files it parsed."""

    def run() -> int:
        wanted = follower.follow()
        seen = look(
            wanted, desired_of(wanted), plane.providers, plane.store, app.looks, Policy(),
            app.clock.now(), widen=follower.widen,
        )  # fmt: skip
        assert len(seen.plan.works) == 1, f"{len(seen.plan.works)} works after a change of one file"
        follower.settle(seen.wanted)
        return wanted.parsed

    return run


def desired_of(wanted: Wanted) -> DesiredState:
    assert wanted.desired is not None, wanted.diagnostics[:3]
    return wanted.desired


def serve(url: str, ref: str) -> None:
    settings, clock, cancel = load_settings(os.environ), SystemClock(), threading.Event()
    where = Where(url, ref)
    with open_app(settings, os.environ, clock, where, cancel, lambda effect: None) as app:
        follower = Follower(app.source, app.cache, app.backends)
        with gc_off():
            wanted = follower.follow()
            follower.settle(wanted)
        gc.freeze()
        # As the command has it.
        gc.set_threshold(100_000)
        with open_plane(app, desired_of(wanted).plane, is_read_only=True) as opened:
            counted = {name: Counted(item) for name, item in opened.providers.items()}
            one_pass = make_pass(app, replace(opened, providers=counted), follower)
            print("{}", flush=True)
            for _ in sys.stdin:
                before = sum(item.reads for item in counted.values())
                began = monotonic_s()
                parsed = one_pass()
                answer = {
                    "wall_s": monotonic_s() - began,
                    "parsed": parsed,
                    "reads": sum(item.reads for item in counted.values()) - before,
                    "rss_mib": _read_rss_mib(),
                }
                print(json.dumps(answer), flush=True)


def _read_rss_mib() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    kib = next(line.split()[1] for line in lines if line.startswith("VmRSS"))
    return int(kib) / 1024


if __name__ == "__main__":
    serve(*sys.argv[1:3])
