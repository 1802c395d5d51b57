"""What may be done: a row per path. Each is a POST, and written down with who asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, Protocol

from pydantic import Field

from ctrlplane_gitops.api.body import Body, Index, Ordinal
from ctrlplane_gitops.api.query import natural
from ctrlplane_gitops.api.read import API
from ctrlplane_gitops.api.route import Call, Reach, Route
from ctrlplane_gitops.auth.roles import Permission
from ctrlplane_gitops.reconcile.order import ABORT, PAUSE, RESUME, Steer, promote
from ctrlplane_gitops.state.key import ResourceKey, instance_key
from ctrlplane_gitops.status.row import ReplicaSetRow
from ctrlplane_gitops.value import struct

MAX_OUTPUT = 1024 * 1024
MAX_LINES = 5000
_LONGEST_S = 300
_Word = Annotated[str, Field(max_length=32_768)]


OF_LOGS = (
    natural("replica", "Only the replica of this index.", 2**31),
    natural("tail", "The last so many lines of each replica (100).", MAX_LINES),
)


class Nothing(Body):
    """No key at all."""


class Promote(Body):
    full: bool = Field(default=False, description="Pass all steps, not the present one alone.")


class Rollback(Body):
    to: Ordinal | None = Field(
        default=None, description="The release to run; the one before if left out."
    )
    clear: bool = Field(default=False, description="Follow Git again.")


class Exec(Body):
    command: list[_Word] = Field(min_length=1, max_length=1000, description="What to run.")
    replica: Index | None = Field(
        default=None, description="Index of the replica; any that runs if left out."
    )
    timeout_s: float = Field(
        default=30, gt=0, le=_LONGEST_S, description="When to end it, in seconds."
    )


class Reconcile(Body):
    tenant: str | None = Field(
        default=None, max_length=63, description="Only this tenant; everything if left out."
    )


@struct
class Told:
    """What was asked is written down, or queued: ``address`` is whom it concerns, ``said`` what
    will be done."""

    address: str
    said: str


@struct
class CheckRow:
    """Every check of every replica, run once, at ``at``."""

    address: str
    at: datetime
    replica_sets: tuple[ReplicaSetRow, ...]


@struct
class ExecRow:
    """``output`` has both streams in their order; ``is_truncated``: only its first MiB is here."""

    replica: str
    exit_code: int
    output: str
    is_truncated: bool


@struct
class LogRow:
    """``stream``: ``stdout``, ``stderr`` or ``log`` (not known). ``at`` None: not known."""

    replica: str
    stream: str
    at: datetime | None
    text: str


class Followed(Protocol):
    """Logs that are being followed; from one thread."""

    def take(self) -> Sequence[LogRow] | None:
        """What was printed since it was last asked; None once every replica has ended."""
        ...

    def close(self) -> None: ...


@struct
class Actions:
    """Who does it. The first argument is the actor, as the audit names them. Each raises
    CtrlplaneError where it cannot be done, Refusal for an instance or worker that is nobody's."""

    steer: Callable[[str, ResourceKey, Steer], Told]
    roll_back: Callable[[str, ResourceKey, int | None, bool], Told]
    reconcile: Callable[[str, str | None], Told]
    run_check: Callable[[str, ResourceKey], CheckRow]
    execute: Callable[[str, ResourceKey, Sequence[str], int | None, timedelta], ExecRow]
    read_logs: Callable[[ResourceKey, int | None, int], Sequence[LogRow]]
    follow_logs: Callable[[ResourceKey, int | None, int], Followed]
    run_worker: Callable[[str, str], Told]


def build_action_routes(actions: Actions) -> tuple[Route, ...]:
    return (
        *_build_steering(actions),
        *_build_inside(actions),
        _post(
            f"{API}/reconcile",
            Permission.RECONCILE,
            "Hold everything, or a tenant, against what runs now, whatever failed before.",
            lambda call: _reconcile(actions, call),
            Reconcile,
            reach=Reach.LIST,
        ),
        _post(
            f"{API}/workers/<worker>/run",
            Permission.RUN_WORKER,
            "Let a worker run as soon as it can.",
            lambda call: actions.run_worker(call.who.actor, call.path["worker"]),
            reach=Reach.PLANE,
        ),
    )


def _build_steering(actions: Actions) -> tuple[Route, ...]:
    def steer(choose: Callable[[Any], Steer]) -> Callable[[Call], Any]:
        return lambda call: actions.steer(call.who.actor, _key(call), choose(call.body))

    def roll_back(call: Call) -> Told:
        body = call.body
        return actions.roll_back(call.who.actor, _key(call), body.to, body.clear)

    return (
        _of_instance(
            Permission.PROMOTE,
            "Pass the present step of a rollout, or all of them.",
            steer(lambda body: promote(is_full=body.full)),
            Promote,
        ),
        _of_instance(Permission.ABORT, "Return to the release before.", steer(lambda _: ABORT)),
        _of_instance(
            Permission.PAUSE, "Leave a rollout where it is until resume.", steer(lambda _: PAUSE)
        ),
        _of_instance(Permission.RESUME, "Go on with a paused rollout.", steer(lambda _: RESUME)),
        _of_instance(
            Permission.ROLLBACK,
            "Run an earlier release until told otherwise, or follow Git again.",
            roll_back,
            Rollback,
        ),
    )


def _build_inside(actions: Actions) -> tuple[Route, ...]:
    def execute(call: Call) -> ExecRow:
        body = call.body
        timeout = timedelta(seconds=body.timeout_s)
        return actions.execute(call.who.actor, _key(call), body.command, body.replica, timeout)

    def read_logs(call: Call) -> Any:
        index, tail = call.get("replica", None), call.get("tail", 100)
        return {"items": actions.read_logs(_key(call), index, tail), "next": None}

    return (
        _of_instance(
            Permission.RUN_CHECK,
            "Run every health check of an instance once, now.",
            lambda call: actions.run_check(call.who.actor, _key(call)),
            shows=CheckRow,
            status=200,
        ),
        _of_instance(
            Permission.EXEC,
            "Run a command inside a replica; its exit code and output.",
            execute,
            Exec,
            shows=ExecRow,
            status=200,
        ),
        Route(
            "GET",
            f"{API}/instances/<tenant>/<name>/logs",
            Permission.LOGS,
            Reach.TENANT,
            "What the replicas of an instance printed last.",
            read_logs,
            OF_LOGS,
            LogRow,
            is_list=True,
        ),
    )


def _reconcile(actions: Actions, call: Call) -> Told | None:
    tenant, who = call.body.tenant, call.who
    if tenant is None and who.tenants is not None and len(who.tenants) == 1:
        [tenant] = who.tenants
    if who.tenants is not None and (tenant is None or not who.can_see(tenant)):
        return None
    return actions.reconcile(who.actor, tenant)


def _key(call: Call) -> ResourceKey:
    return instance_key(call.path["tenant"], call.path["name"])


def _of_instance(
    permission: Permission,
    summary: str,
    answer: Callable[[Call], Any],
    body: type[Body] = Nothing,
    shows: Any = Told,
    status: int = 202,
) -> Route:
    path = f"{API}/instances/<tenant>/<name>/{permission.value}"
    return _post(path, permission, summary, answer, body, shows, status)


def _post(
    path: str,
    permission: Permission,
    summary: str,
    answer: Callable[[Call], Any],
    body: type[Body] = Nothing,
    shows: Any = Told,
    status: int = 202,
    reach: Reach = Reach.TENANT,
) -> Route:
    return Route(
        "POST", path, permission, reach, summary, answer, shows=shows, status=status, body=body
    )
