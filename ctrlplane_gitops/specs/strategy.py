"""``spec.strategy`` of a Deployment: how to get from one release to the next."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from ctrlplane_gitops.specs.field import CountOrPercent, Duration, PositiveDuration
from ctrlplane_gitops.specs.later import Later
from ctrlplane_gitops.specs.model import Model
from ctrlplane_gitops.specs.problem import Problem
from ctrlplane_gitops.units import parse_duration

_BLOCKS = {"rolling": "rolling", "blueGreen": "blue_green", "canary": "canary"}
"""The block each type has, and its field."""
_ORDER = (("minReady", "min_ready"), ("healthyDeadline", "healthy_deadline"))
_LATER = (("healthyDeadline", "healthy_deadline"), ("progressDeadline", "progress_deadline"))


class RollingSpec(Model):
    max_surge: CountOrPercent = Field(
        default="25%", description="Replicas above the wanted number, rounded up."
    )
    max_unavailable: CountOrPercent = Field(
        default="0", description="Replicas that may be missing, rounded down."
    )


class BlueGreenSpec(Model):
    auto_promote: bool = Field(default=True, description="Switch without waiting for promote.")
    scale_down_delay: Duration = Field(
        default="30s", description="How long the old release stays after the switch."
    )
    bake_time: Duration = Field(
        default="0s", description="How long the new release must stay healthy after the switch."
    )


def _load_canary() -> type[CanarySpec]:
    from ctrlplane_gitops.specs.canary import CanarySpec

    return CanarySpec


if TYPE_CHECKING:
    from ctrlplane_gitops.specs.canary import CanarySpec
else:
    CanarySpec = Annotated[Any, Later(_load_canary)]


class StrategySpec(Model):
    """``minReady < healthyDeadline < progressDeadline``."""

    type: Literal["recreate", "rolling", "blueGreen", "canary"] = Field(
        default="rolling", description="recreate has downtime, the others have none."
    )
    min_ready: Duration = Field(
        default="10s", description="How long a replica must be ready before it counts."
    )
    healthy_deadline: PositiveDuration = Field(
        default="5m", description="How long a new replica may take to become ready."
    )
    progress_deadline: PositiveDuration = Field(
        default="10m", description="How long a rollout may go without progress."
    )
    drain_timeout: Duration = Field(
        default="30s", description="How long requests in flight may take to end."
    )
    stop_timeout: Duration = Field(default="30s", description="Time between SIGTERM and SIGKILL.")
    auto_rollback: bool = Field(
        default=True, description="Return to the old release after a failure."
    )
    revision_history_limit: Annotated[int, Field(ge=0, le=1000)] = Field(
        default=10, description="Releases that are kept to roll back to."
    )
    rolling: RollingSpec | None = Field(default=None, description="Only for type rolling.")
    blue_green: BlueGreenSpec | None = Field(default=None, description="Only for type blueGreen.")
    canary: CanarySpec | None = Field(default=None, description="Only for type canary.")

    def find_problems(self) -> Iterator[Problem]:
        for block, name in _BLOCKS.items():
            if block != self.type and getattr(self, name) is not None:
                summary = f"spec.strategy.{block} has no meaning for type {self.type}"
                hint = f"remove it, or write 'type: {block}'"
                yield Problem("unused-strategy-block", summary, hint, ("strategy", block))
        for (first, first_name), (second, second_name) in zip(_ORDER, _LATER, strict=True):
            yield from self._check_order(first, first_name, second, second_name)
        rolling = self.rolling
        if rolling and all(x in ("0", "0%") for x in (rolling.max_surge, rolling.max_unavailable)):
            summary = "spec.strategy.rolling has maxSurge 0 and maxUnavailable 0: nothing can move"
            yield Problem("wrong-value", summary, "raise one", ("strategy", "rolling"))
        if self.canary is not None and self.type == "canary":
            yield from self.canary.find_problems()

    def _check_order(
        self, first: str, first_name: str, second: str, second_name: str
    ) -> Iterator[Problem]:
        early, late = getattr(self, first_name), getattr(self, second_name)
        if parse_duration(early) < parse_duration(late):
            return
        is_first_given = first_name in self.model_fields_set
        is_second_given = second_name in self.model_fields_set
        place = first if is_first_given else second
        summary = (
            f"spec.strategy.{first} ({early}) must be shorter than spec.strategy.{second} ({late})"
        )
        hint = "minReady < healthyDeadline < progressDeadline"
        if is_first_given and not is_second_given:
            hint = f"{late} is the default of {second}: give a longer {second}, or shorten {first}"
        elif is_second_given and not is_first_given:
            hint = (
                f"{early} is the default of {first}: give a shorter {first}, or a longer {second}"
            )
        yield Problem("wrong-order", summary, hint, ("strategy", place))

    def add_block(self, spec: dict[str, Any]) -> None:
        """Give this strategy, normalised, the block of its type with the defaults."""
        if self.type in _BLOCKS and self.type not in spec:
            spec[self.type] = _BLOCK_MODELS[self.type]().model_dump(
                by_alias=True, exclude_none=True
            )
        analysis = spec.get("canary", {}).get("analysis")
        if analysis is not None:
            from ctrlplane_gitops.specs.analysis import fill_analysis

            fill_analysis(analysis)


_BLOCK_MODELS: dict[str, Callable[[], Model]] = {
    "rolling": RollingSpec,
    "blueGreen": BlueGreenSpec,
    "canary": lambda: _load_canary()(),
}
