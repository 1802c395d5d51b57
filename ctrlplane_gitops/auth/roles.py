"""What there is to be allowed, and the least role that is."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from ctrlplane_gitops.state.access import Role


class Permission(StrEnum):
    """One thing that may be done over HTTP."""

    READ = "read"
    LOGS = "logs"
    PROMOTE = "promote"
    ABORT = "abort"
    PAUSE = "pause"
    RESUME = "resume"
    ROLLBACK = "rollback"
    RUN_CHECK = "run-check"
    RECONCILE = "reconcile"
    EXEC = "exec"
    RUN_WORKER = "run-worker"


LEAST_ROLE: Mapping[Permission, Role] = MappingProxyType(
    {
        Permission.READ: Role.VIEWER,
        Permission.LOGS: Role.VIEWER,
        Permission.PROMOTE: Role.OPERATOR,
        Permission.ABORT: Role.OPERATOR,
        Permission.PAUSE: Role.OPERATOR,
        Permission.RESUME: Role.OPERATOR,
        Permission.ROLLBACK: Role.OPERATOR,
        Permission.RUN_CHECK: Role.OPERATOR,
        Permission.RECONCILE: Role.OPERATOR,
        Permission.EXEC: Role.ADMIN,
        Permission.RUN_WORKER: Role.ADMIN,
    }
)
_RANKS = {role: rank for rank, role in enumerate(Role)}


def has_permission(role: Role, permission: Permission) -> bool:
    """
    >>> has_permission(Role.VIEWER, Permission.READ), has_permission(Role.VIEWER, Permission.EXEC)
    (True, False)
    """
    return _RANKS[role] >= _RANKS[LEAST_ROLE[permission]]
