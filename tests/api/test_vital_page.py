"""How an instance was and what it used: what is drawn of it is what is known, and no more."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from ctrlplane_gitops.api.vital_page import WINDOW, show_health, show_telemetry
from ctrlplane_gitops.health.view import view_spans
from ctrlplane_gitops.state.health import WHOLE, Health, HealthSpan
from ctrlplane_gitops.state.key import instance_key
from ctrlplane_gitops.telemetry.sample import NOTHING, Sample
from ctrlplane_gitops.telemetry.series import Series

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
WEB = instance_key("acme", "web")


def span(health: Health, began_h: float, ended_h: float | None, check: str = WHOLE) -> HealthSpan:
    """From so many hours ago until so many hours ago, None: it holds."""
    ended_at = None if ended_h is None else NOW - timedelta(hours=ended_h)
    return HealthSpan(WEB, check, health, NOW - timedelta(hours=began_h), ended_at, 2, 2, "said")


def tones(*spans: HealthSpan, seen_at: datetime | None = NOW) -> str:
    shown = show_health(view_spans(WEB, spans, seen_at, NOW), spans, seen_at, NOW)
    assert shown is not None
    words = {"ok": "o", "bad": "x", "warn": "!", "none": "."}
    return "".join(words[bar.tone] for bar in shown["bars"])


def test_a_day_is_a_cell_for_each_quarter_of_an_hour() -> None:
    assert tones(span(Health.HEALTHY, 30, None)) == "o" * 96
    assert tones(span(Health.HEALTHY, 12, None)) == "." * 48 + "o" * 48


def test_a_cell_shows_the_worst_of_its_time() -> None:
    spans = (
        span(Health.HEALTHY, 30, 1.1),
        span(Health.UNHEALTHY, 1.1, 1.05),
        span(Health.DEGRADED, 1.05, 0.6),
        span(Health.HEALTHY, 0.6, None),
    )
    assert tones(*spans) == "o" * 91 + "x" + "!" * 2 + "o" * 2


def test_time_in_which_nobody_looked_is_neither_up_nor_down() -> None:
    seen_at = NOW - timedelta(hours=6)
    spans = (span(Health.HEALTHY, 12, None),)
    assert tones(*spans, seen_at=seen_at) == "." * 48 + "o" * 25 + "." * 23
    shown = show_health(view_spans(WEB, spans, seen_at, NOW), spans, seen_at, NOW)
    assert shown is not None
    assert (shown["state"], shown["uptime"]) == ("unknown", "100%")


def test_what_has_only_begun_has_no_uptime_yet() -> None:
    spans = (span(Health.HEALTHY, 0, None),)
    shown = show_health(view_spans(WEB, spans, NOW, NOW), spans, NOW, NOW)
    assert shown is not None and shown["summary"] == "no uptime yet"
    spans = (span(Health.HEALTHY, 2, None),)
    shown = show_health(view_spans(WEB, spans, NOW, NOW), spans, NOW, NOW)
    assert shown is not None and shown["summary"] == "100% up of the 2 h that are known"


def test_uptime_is_never_rounded_up_to_all_of_it() -> None:
    spans = (
        span(Health.HEALTHY, 24, 0.001),
        span(Health.UNHEALTHY, 0.001, None),
        span(Health.UNHEALTHY, 0.5, None, "ready"),
    )
    shown = show_health(view_spans(WEB, spans, NOW, NOW), spans, NOW, NOW)
    assert shown is not None
    assert shown["uptime"] == "99.99%"
    assert shown["checks"] == [{"name": "ready", "state": "unhealthy", "said": "said"}]


def test_what_was_never_looked_at_has_no_history() -> None:
    assert show_health(view_spans(WEB, (), None, NOW), (), None, NOW) is None


def series(*samples: Sample) -> Series:
    return Series(NOW - WINDOW, timedelta(seconds=10), samples)


def test_each_channel_that_is_known_has_a_line() -> None:
    shown = show_telemetry(
        series((100.0, 2.0**20, None, None), NOTHING, (150.0, 2.0**21, None, None))
    )
    assert shown is not None
    cpu, memory = shown["lines"]
    assert (cpu["title"], cpu["last"], cpu["high"]) == ("CPU", "150m", "150m")
    assert (memory["last"], len(memory["picture"].lines)) == ("2 MiB", 2)
    assert shown["span"] == "last 30 s"


def test_what_was_never_measured_has_no_line() -> None:
    assert show_telemetry(series()) is None
    assert show_telemetry(series(NOTHING, NOTHING)) is None
