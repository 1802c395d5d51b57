"""``replicas: {owner: autoscaler}``: somebody else decides how many there are."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ctrlplane_gitops.specs.model import Model

MAX_REPLICAS = 1000


class AutoscaledSpec(Model):
    """The least and the most are the autoscaler's own to know."""

    owner: Literal["autoscaler"] = Field(
        description="Who decides how many run: an autoscaler, such as a HorizontalPodAutoscaler."
    )
    initial: Annotated[int, Field(ge=1, le=MAX_REPLICAS)] = Field(
        default=1, description="How many are started while it has not decided yet."
    )
