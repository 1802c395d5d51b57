"""Told by the kernel that files below a folder have changed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from ctrlplane_gitops.execute.pool import Begun

# Changes that come this close together are one (a save writes and renames, a checkout is many).
_STEP_MS = 100
_DEBOUNCE_MS = 1000


def watch_folder(
    folder: Path,
    cancel: threading.Event,
    on_change: Callable[[], None],
    on_failure: Callable[[str], None],
) -> Begun[None]:
    """Call ``on_change`` after every change until ``cancel`` is set. ``on_failure`` is told why
    nothing is watched (any more): it is polled as before."""

    def run() -> None:
        try:
            from watchfiles import DefaultFilter, watch

            for _ in watch(
                folder,
                watch_filter=DefaultFilter(),
                debounce=_DEBOUNCE_MS,
                step=_STEP_MS,
                stop_event=cancel,
                raise_interrupt=False,
                ignore_permission_denied=True,
            ):
                on_change()
        except Exception as error:
            # The folder went away, or the machine has no more watches to give.
            on_failure(f"{type(error).__name__}: {error}")

    return Begun(run)
