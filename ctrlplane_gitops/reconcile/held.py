"""Why a plan leaves rows undone: rows that another pass will do, rows that need somebody to allow
them, and releases that are known to be bad."""

from __future__ import annotations

from ctrlplane_gitops.plan.change import Plan

_KEPT = frozenset({"identity-lost"})
_GUARDED = frozenset(
    {"protected", "quota", "mass-recreate", "prune-limit", "empty-desired", "provider-gone"}
)


def is_kept(plan: Plan) -> bool:
    """Whether the next pass will do what this one leaves."""
    return any(item.blocked and item.blocked.code in _KEPT for item in plan.changes)


def is_guarded(plan: Plan) -> bool:
    """Whether a guard holds back a part of the plan."""
    return any(item.blocked and item.blocked.code in _GUARDED for item in plan.changes)


def has_bad_release(plan: Plan) -> bool:
    """Whether what Git wants is known to have failed."""
    return any(item.blocked and item.blocked.code == "bad-release" for item in plan.changes)
