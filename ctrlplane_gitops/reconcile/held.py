"""Why a plan leaves rows undone: rows that another pass will do, rows that need somebody to allow
them, and releases that are known to be bad."""

from __future__ import annotations

from ctrlplane_gitops.plan.change import Change, Plan

_KEPT = frozenset({"identity-lost"})
_GUARDED = frozenset(
    {"protected", "quota", "mass-recreate", "prune-limit", "empty-desired", "provider-gone"}
)

# By whoever made the plan, for reasons of its own: nothing that others are needed to judge.
_LEFT = frozenset({"backoff", "observed", "quarantined"})


def is_left_for_now(change: Change) -> bool:
    """Whether a row is left because of how it went before, or because drift is only observed."""
    return change.blocked is not None and change.blocked.code in _LEFT


def is_backing_off(plan: Plan) -> bool:
    """Whether something that failed waits for its next try."""
    return any(item.blocked and item.blocked.code == "backoff" for item in plan.changes)


def is_kept(plan: Plan) -> bool:
    """Whether the next pass will do what this one leaves."""
    return any(item.blocked and item.blocked.code in _KEPT for item in plan.changes)


def is_guarded(plan: Plan) -> bool:
    """Whether a guard holds back a part of the plan."""
    return any(item.blocked and item.blocked.code in _GUARDED for item in plan.changes)


def has_bad_release(plan: Plan) -> bool:
    """Whether what Git wants is known to have failed."""
    return any(item.blocked and item.blocked.code == "bad-release" for item in plan.changes)
