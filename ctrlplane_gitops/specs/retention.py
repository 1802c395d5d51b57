"""``spec.retention`` of a ControlPlane."""

from __future__ import annotations

from pydantic import Field

from ctrlplane_gitops.specs.field import PositiveDuration
from ctrlplane_gitops.specs.model import Model


class RetentionSpec(Model):
    """How long the store keeps what happened; ``serve`` removes what is older."""

    events: PositiveDuration = Field(default="30d", description="Events.")
    audit: PositiveDuration = Field(default="365d", description="Who did what.")
    intents: PositiveDuration = Field(default="7d", description="Actions that have ended.")
    deliveries: PositiveDuration = Field(default="30d", description="Webhooks in and out.")
    health: PositiveDuration = Field(default="30d", description="Results of health checks.")
