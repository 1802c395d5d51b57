"""Where a service says what it does."""

from __future__ import annotations

from collections.abc import Callable

from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.recorded import Event
from ctrlplane_gitops.value import struct


@struct
class Output:
    """``log`` takes one line. ``on_event`` is told of every event once it is written, ``on_wait``
    what an instance is waiting for. Each is called by many threads."""

    log: Callable[[str], None] = lambda text: None
    on_event: Callable[[Event], None] = lambda event: None
    on_wait: Callable[[ResourceKey, str], None] = lambda instance, text: None
