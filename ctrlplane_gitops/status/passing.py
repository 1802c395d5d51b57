"""The plan that passes go by, kept for whoever wants to see it."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ctrlplane_gitops.plan.as_json import plan_as_json
from ctrlplane_gitops.plan.change import Plan
from ctrlplane_gitops.plan.render import render_plan
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.recorded import RecordBatch
from ctrlplane_gitops.value import replace, struct


@struct
class LastPlan:
    """``is_empty``: nothing was to be changed. ``outcome`` is what came of it, None while it is
    being done."""

    made_at: datetime
    plan: Plan
    is_empty: bool
    outcome: str | None = None


class Plans:
    """Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: LastPlan | None = None

    def take(self, plan: Plan, tenants: frozenset[str] | None, at: datetime) -> None:
        """A pass is about to do this. ``tenants`` are those it is about, None: everything; what
        was planned for the others is still so."""
        slim = replace(
            plan, works=(), records=RecordBatch(), dependencies={}, turns={}, certificates=()
        )
        with self._lock:
            before = self._last
            if tenants is not None and before is not None:
                slim = _lay_over(before.plan, slim, tenants)
            self._last = LastPlan(at, slim, plan.is_empty)

    def end(self, outcome: str) -> None:
        """The pass under way has ended."""
        with self._lock:
            if self._last is not None:
                self._last = replace(self._last, outcome=outcome)

    def read(self) -> LastPlan | None:
        return self._last


def _lay_over(before: Plan, part: Plan, tenants: frozenset[str]) -> Plan:
    def is_kept(key: ResourceKey) -> bool:
        return key.tenant not in tenants

    changes = [item for item in before.changes if is_kept(item.key)]
    drift = [item for item in before.drift if is_kept(item.key)]
    diagnostics = [item for item in before.diagnostics if item.tenant not in tenants]
    return replace(
        part,
        changes=tuple(sorted([*changes, *part.changes], key=lambda item: item.key)),
        drift=tuple(sorted([*drift, *part.drift], key=lambda item: item.key)),
        diagnostics=(*diagnostics, *part.diagnostics),
    )


def show_plan(last: LastPlan, scope: frozenset[str] | None) -> Mapping[str, Any]:
    """As ``plan --json`` prints it. With a scope: the rows of those tenants alone, and no figure
    of what concerns others too."""
    plan = _narrow(last.plan, scope)
    shown = plan_as_json(plan)
    if scope is None:
        shown["summary"]["is_empty"] = last.is_empty
    else:
        shown["summary"]["is_empty"] = not plan.changes and not plan.drift
        del shown["summary"]["adopt"], shown["summary"]["unchanged"]
    return shown


def tell_plan(last: LastPlan, scope: frozenset[str] | None) -> str:
    """As ``plan`` prints it, in the same way; what was read in all is no business of a scope."""
    text = render_plan(_narrow(last.plan, scope))
    return text if scope is None else text.partition("\n\n")[2]


def _narrow(plan: Plan, scope: frozenset[str] | None) -> Plan:
    if scope is None:
        return plan
    return replace(
        plan,
        changes=tuple(item for item in plan.changes if item.key.tenant in scope),
        drift=tuple(item for item in plan.drift if item.key.tenant in scope),
        diagnostics=tuple(item for item in plan.diagnostics if item.tenant in scope),
        autoscaled=tuple(item for item in plan.autoscaled if item.key.tenant in scope),
        refusals=(),
        adopted=0,
    )
