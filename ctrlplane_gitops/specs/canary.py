"""``strategy.canary``: the steps of a canary, and what is measured meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from ctrlplane_gitops.specs.field import Pause
from ctrlplane_gitops.specs.later import Later
from ctrlplane_gitops.specs.model import Model
from ctrlplane_gitops.specs.problem import Problem


def _load_analysis() -> type[AnalysisSpec]:
    from ctrlplane_gitops.specs.analysis import AnalysisSpec

    return AnalysisSpec


if TYPE_CHECKING:
    from ctrlplane_gitops.specs.analysis import AnalysisSpec
else:
    AnalysisSpec = Annotated[Any, Later(_load_analysis)]


class StepSpec(Model):
    weight: Annotated[int, Field(ge=0, le=100)] = Field(
        description="Share of the traffic the new release gets, in percent."
    )
    pause: Pause | None = Field(
        default=None, description="Time before the next step, or 'manual' to wait for promote."
    )


def _default_steps() -> list[StepSpec]:
    return [
        StepSpec(weight=10, pause="2m"),
        StepSpec(weight=50, pause="2m"),
        StepSpec(weight=100),
    ]


class CanarySpec(Model):
    steps: list[StepSpec] = Field(
        default_factory=_default_steps, min_length=1, max_length=100, description="In this order."
    )
    analysis: AnalysisSpec | None = Field(
        default=None, description="What is measured during the steps; what fails aborts."
    )

    def find_problems(self) -> Iterator[Problem]:
        where = ("strategy", "canary")
        weight = 0
        for index, step in enumerate(self.steps):
            place = (*where, "steps", index, "weight")
            shown = f"spec.{'.'.join(where)}.steps[{index}]"
            if step.weight < weight:
                summary = f"{shown}.weight ({step.weight}) is less than the {weight} before it"
                hint = "a canary only grows: put the steps in order"
                yield Problem("wrong-order", summary, hint, place)
            if not step.weight and step.pause not in (None, "0s"):
                summary = f"{shown} pauses at a weight of 0, where there is nothing to see yet"
                hint = "give a paused step a weight from 1 to 100, or leave it out"
                yield Problem("wrong-value", summary, hint, place)
            weight = max(weight, step.weight)
        if self.analysis is not None:
            yield from self.analysis.find_problems((*where, "analysis"))
