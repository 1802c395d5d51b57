"""How much of the time an instance was up, of the time that is known. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from ctrlplane_gitops.clock import rfc3339
from ctrlplane_gitops.state.health import WHOLE, HealthSpan
from ctrlplane_gitops.value import struct

WINDOWS = {"24h": timedelta(hours=24), "7d": timedelta(days=7), "30d": timedelta(days=30)}
LONGEST = max(WINDOWS.values())


@struct
class Uptime:
    """``known`` is how much of a window is known, ``up`` how much of that somebody was served."""

    up: timedelta = timedelta()
    known: timedelta = timedelta()

    @property
    def percent(self) -> float | None:
        """None where nothing is known.

        >>> Uptime(timedelta(hours=3), timedelta(hours=4)).percent
        75.0
        """
        return 100 * (self.up / self.known) if self.known else None


def compute_uptime(
    spans: Iterable[HealthSpan], seen_at: datetime | None, now: datetime, window: timedelta
) -> Uptime:
    """Of one instance in the window that ends now. What is held counts up to ``seen_at``, when
    somebody last looked; time in which nobody did is neither up nor down."""
    begin = now - window
    up = known = timedelta()
    for span in spans:
        end = span.ended_at or seen_at
        if span.check == WHOLE and end is not None:
            lasted = max(timedelta(), min(end, now) - max(span.began_at, begin))
            known += lasted
            up += lasted if span.health.is_up else timedelta()
    return Uptime(up, known)


def uptime_as_json(
    spans: Iterable[HealthSpan], seen_at: datetime | None, now: datetime
) -> dict[str, Any]:
    """By window: the percentage (null where nothing is known) and the seconds it is of."""
    spans = list(spans)
    found = {name: compute_uptime(spans, seen_at, now, it) for name, it in WINDOWS.items()}
    return {
        name: {
            "percent": None if it.percent is None else round(it.percent, 3),
            "known_s": round(it.known.total_seconds()),
        }
        for name, it in found.items()
    }


def span_as_json(span: HealthSpan) -> dict[str, Any]:
    """``check`` is null for the instance as a whole, ``ended_at`` for what holds."""
    return {
        "check": span.check or None,
        "health": span.health.value,
        "began_at": rfc3339(span.began_at),
        "ended_at": None if span.ended_at is None else rfc3339(span.ended_at),
        "healthy": span.healthy,
        "replicas": span.replicas,
        "message": span.message,
    }
