"""Stopping replicas: all are asked at once, then waited for, then what is left is killed."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta

from ctrlplane_gitops.clock import monotonic_s, sleep
from ctrlplane_gitops.errors import ProviderError
from ctrlplane_gitops.process_id import is_alive, send_signal
from ctrlplane_gitops.providers.process.fleet import Replica, find_processes
from ctrlplane_gitops.providers.process.layout import Layout

# What a keeper may take beyond the grace to drain the output and write the exit code.
_KEEPER_MARGIN_S = 5.0
_KILL_PATIENCE_S = 10.0


def ask_to_stop(layout: Layout, replica: Replica, grace: timedelta) -> None:
    """SIGTERM to the keeper, which passes it on and kills after ``grace``."""
    if replica.keeper is None:
        return
    # The directory may be gone: then the keeper's own default grace holds.
    with suppress(OSError):
        path = layout.replica_dir(replica.slug) / "stop"
        path.write_text(str(grace.total_seconds()))
    send_signal(replica.keeper, signal.SIGTERM)


def wait_stopped(replicas: Sequence[Replica], grace: timedelta) -> None:
    """Until every keeper has ended or should have."""
    deadline = monotonic_s() + grace.total_seconds() + _KEEPER_MARGIN_S
    keepers = [replica.keeper for replica in replicas if replica.keeper is not None]
    while any(map(is_alive, keepers)) and monotonic_s() < deadline:
        sleep(0.01)


def kill_leftovers(layout: Layout, plane: str, replicas: Sequence[Replica]) -> None:
    """SIGKILL to every live process of these replicas, found by its tags, until none is left;
    ProviderError (retryable) when one does not die."""
    names = {replica.name for replica in replicas}
    deadline = monotonic_s() + _KILL_PATIENCE_S
    while names:
        tagged = find_processes(layout, plane)
        left = [process for name in names & set(tagged) for process in tagged[name].processes]
        if not left:
            return
        if monotonic_s() > deadline:
            pids = ", ".join(str(process.pid) for process in left)
            raise ProviderError(f"processes {pids} do not die", is_retryable=True)
        for process in left:
            send_signal(process, signal.SIGKILL)
        sleep(0.01)
