"""The strategy's protocol and the table of strategies by name."""

from __future__ import annotations

from typing import Protocol

from ctrlplane_gitops.diagnostics import Diagnostic
from ctrlplane_gitops.rollout.view import RolloutView, StepDecision
from ctrlplane_gitops.state.desired import RolloutParams


class Strategy(Protocol):
    """Pure and total: the same view gives the same decision, and every view gives one."""

    name: str

    def check(self, params: RolloutParams) -> tuple[Diagnostic, ...]: ...

    def next_step(self, view: RolloutView) -> StepDecision: ...
