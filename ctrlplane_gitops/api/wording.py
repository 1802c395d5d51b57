"""Words, figures and times as the pages show them. Pure."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from ctrlplane_gitops.clock import parse_rfc3339, rfc3339

# How good or bad a word is; what is not here is neither.
_TONES = {
    "ok": "ok running active completed passed done told healthy applied ready converged delivered",
    "busy": "progressing rollingBack pending starting queued accepted waiting started",
    "warn": "degraded rolledBack warning quarantined partial paused drifted held interrupted",
    "bad": "down failed crashing error refused unhealthy overdue rejected lost",
    "quiet": "idle suspended stopped superseded unchanged ignored duplicate pinned unpinned",
    "unknown": "unknown unverified cancelled",
}
_TONE_OF = {word: tone for tone, words in _TONES.items() for word in words.split()}
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")
_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def tone_of(word: str) -> str:
    """``ok busy warn bad quiet unknown``: how a state is coloured.

    >>> tone_of("running"), tone_of("rolledBack"), tone_of("nobody knows")
    ('ok', 'warn', 'quiet')
    """
    return _TONE_OF.get(word, "quiet")


def spoken(word: str) -> str:
    """
    >>> spoken("rollingBack"), spoken("running")
    ('rolling back', 'running')
    """
    return _HUMP.sub(" ", word).lower().replace("-", " ").replace("_", " ")


def ago(at: datetime | str | None, now: datetime) -> str:
    """How long since, or until, in its largest unit; "never" for None.

    >>> from datetime import UTC
    >>> now = datetime(2026, 1, 2, tzinfo=UTC)
    >>> ago(now - timedelta(minutes=61), now), ago("2026-01-02T00:00:30Z", now), ago(None, now)
    ('1 h ago', 'in 30 s', 'never')
    """
    if at is None:
        return "never"
    moment = parse_rfc3339(at) if isinstance(at, str) else at
    left = (moment - now).total_seconds()
    if abs(left) < 1:
        return "now"
    text = lasting(abs(left))
    return f"in {text}" if left > 0 else f"{text} ago"


def lasting(seconds: float | timedelta | None) -> str:
    """A duration in its largest unit, below a second in milliseconds.

    >>> lasting(0.034), lasting(1.52), lasting(200), lasting(timedelta(hours=30)), lasting(None)
    ('34 ms', '1.5 s', '3 min', '1 d', '-')
    """
    if seconds is None:
        return "-"
    value = seconds.total_seconds() if isinstance(seconds, timedelta) else seconds
    if value < 1:
        return f"{round(value * 1000)} ms"
    if value < 10:
        return f"{value:.1f}".removesuffix(".0") + " s"
    size, unit = next((size, unit) for size, unit in _UNITS if value >= size)
    return f"{int(value // size)} {unit}"


def exact(at: datetime | str | None) -> str:
    """RFC 3339; "" for None."""
    if at is None:
        return ""
    return at if isinstance(at, str) else rfc3339(at)


def clock_time(at: datetime | str | None) -> str:
    """
    >>> clock_time("2026-01-02T03:04:05.000Z")
    '01-02 03:04:05'
    """
    text = exact(at)
    return f"{text[5:10]} {text[11:19]}" if text else "-"


def percent(share: float | None) -> str:
    """A share from 0 to 1; never rounded up to all of it.

    >>> percent(1.0), percent(0.99996), percent(0.5), percent(None)
    ('100%', '99.99%', '50%', '-')
    """
    if share is None:
        return "-"
    hundredths = int(share * 10000 + 1e-9)
    return f"{hundredths / 100:g}%"


def short_bytes(size: float | None) -> str:
    """
    >>> short_bytes(1536), short_bytes(268435456), short_bytes(None)
    ('1.5 KiB', '256 MiB', '-')
    """
    if size is None:
        return "-"
    value, units = float(size), ["B", "KiB", "MiB", "GiB", "TiB"]
    while value >= 1024 and len(units) > 1:
        value /= 1024
        units.pop(0)
    text = f"{value:.0f}" if value >= 100 else f"{value:.1f}".removesuffix(".0")
    return f"{text} {units[0]}"


def short_cpu(millicores: float | None) -> str:
    """
    >>> short_cpu(120), short_cpu(2500), short_cpu(0.4), short_cpu(None)
    ('120m', '2.5', '0.4m', '-')
    """
    if millicores is None:
        return "-"
    if millicores < 1000:
        return f"{millicores:.1f}".removesuffix(".0") + "m"
    return f"{millicores / 1000:.2f}".rstrip("0").removesuffix(".")
