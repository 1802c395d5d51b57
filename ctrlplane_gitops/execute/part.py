"""What an apply works with, and what comes of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from enum import StrEnum

from ctrlplane_gitops.clock import Clock
from ctrlplane_gitops.errors import CtrlplaneError
from ctrlplane_gitops.execute.journal import Journal
from ctrlplane_gitops.execute.material import Materials
from ctrlplane_gitops.execute.pool import Pool
from ctrlplane_gitops.execute.step import WorkState
from ctrlplane_gitops.execute.traffic import Traffic
from ctrlplane_gitops.providers.base import Provider
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.recorded import Order
from ctrlplane_gitops.value import struct


class Ending(StrEnum):
    """Why the loop ended. ``lost``: somebody else took the lease over."""

    COMPLETE = "complete"
    CANCELLED = "cancelled"
    TIMED_OUT = "timedOut"
    LOST = "lost"


@struct
class ApplyParts:
    """What an apply works with. ``actions``, ``looks`` and ``probes`` are three pools so that no
    kind of call can hold up another. ``cancel`` and ``lost`` stop it after what is in flight;
    ``deadline`` as well. ``on_wait`` is told every ten seconds what an instance waits for.
    ``analyses`` is the pool for measuring canaries (None: that of the probes).
    ``traffic`` None: there is no router. ``read_orders`` gives what people ask of rollouts now."""

    journal: Journal
    providers: Mapping[str, Provider]
    materials: Materials
    clock: Clock
    actions: Pool
    looks: Pool
    probes: Pool
    cancel: threading.Event
    lost: threading.Event
    deadline: datetime | None = None
    is_detached: bool = False
    on_wait: Callable[[ResourceKey, str], None] = lambda instance, text: None
    traffic: Traffic | None = None
    read_orders: Callable[[], Mapping[ResourceKey, Order]] = dict
    analyses: Pool | None = None

    def find_stop(self) -> Ending | None:
        """Why it has to stop; None while it may go on."""
        if self.lost.is_set():
            return Ending.LOST
        if self.cancel.is_set():
            return Ending.CANCELLED
        if self.deadline is not None and self.clock.now() >= self.deadline:
            return Ending.TIMED_OUT
        return None


@struct
class WorkResult:
    """How the work on one instance ended; ``message`` says why, where it did not simply succeed."""

    instance: ResourceKey
    state: WorkState
    message: str = ""
    error: CtrlplaneError | None = None


@struct
class ApplyResult:
    """``effects`` counts the mutating calls made to providers. ``results`` are sorted."""

    ending: Ending
    results: tuple[WorkResult, ...]
    effects: int
    errors: tuple[CtrlplaneError, ...] = ()
    warnings: tuple[str, ...] = ()
