"""How instances are, from moment to moment: the nouns of health's history."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.value import struct


class Health(StrEnum):
    """``degraded``: some replicas serve, fewer than there should be. ``unknown`` is whatever nobody
    has verified; it is never written down."""

    UNKNOWN = "unknown"
    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"

    @property
    def is_up(self) -> bool:
        """Whether somebody is served."""
        return self in (Health.HEALTHY, Health.DEGRADED)


WHOLE = ""
"""In the place of a check's name: the instance as a whole."""

Subject = tuple[ResourceKey, str]
"""An instance, and one of its checks or ``WHOLE``."""


@struct
class HealthSpan:
    """One verdict on an instance, or on one check of it, for as long as it held. ``healthy`` of
    ``replicas`` were; ``ended_at`` None: it holds."""

    instance: ResourceKey
    check: str
    health: Health
    began_at: datetime
    ended_at: datetime | None = None
    healthy: int = 0
    replicas: int = 0
    message: str = ""

    @property
    def subject(self) -> Subject:
        return (self.instance, self.check)
