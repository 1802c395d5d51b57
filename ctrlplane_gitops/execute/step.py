"""What the work on one instance decides, and what it is shown. Values only."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum

from ctrlplane_gitops.errors import CtrlplaneError
from ctrlplane_gitops.execute.settle import Settled
from ctrlplane_gitops.rollout.view import AnalysisView, RouteStep, TrafficView, Wishes
from ctrlplane_gitops.state.action import Action
from ctrlplane_gitops.state.recorded import RolloutStatus
from ctrlplane_gitops.value import struct


class WorkState(StrEnum):
    """How the work on one instance ended. ``waiting``: somebody must promote or resume it.
    ``underWay``: an earlier pass is at the same. ``superseded``: a later one makes something else
    of it. ``overtaken``: it moved while it was looked at, and has to be looked at again."""

    DONE = "done"
    STARTED = "started"
    WAITING = "waiting"
    ROLLED_BACK = "rolledBack"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"
    UNDER_WAY = "underWay"
    SUPERSEDED = "superseded"
    OVERTAKEN = "overtaken"


@struct
class Act:
    """Do these, side by side, then look again. ``route``: share the requests like this."""

    actions: tuple[Action, ...]
    status: RolloutStatus | None = None
    route: RouteStep | None = None


@struct
class Pause:
    """Nothing to do before ``wait`` has passed or a probe has turned."""

    wait: timedelta
    status: RolloutStatus | None = None


@struct
class End:
    """The work ended; ``settled`` is what to write down (None: nothing but the outcome)."""

    state: WorkState
    message: str = ""
    settled: Settled | None = None
    error: CtrlplaneError | None = None


Step = Act | Pause | End


@struct
class Surroundings:
    """What a rollout depends on besides its replicas. ``traffic`` None: no router is concerned;
    ``analysis`` None: nothing is measured. ``note`` is what the measurements say, for people."""

    traffic: TrafficView | None = None
    wishes: Wishes = Wishes()
    analysis: AnalysisView | None = None
    note: str = ""
