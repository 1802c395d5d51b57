"""How an instance was and what it used, as the page of it draws them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

from ctrlplane_gitops.api.picture import draw_spark, draw_strip
from ctrlplane_gitops.api.wording import lasting, percent, short_bytes, short_cpu
from ctrlplane_gitops.health.uptime import compute_uptime
from ctrlplane_gitops.health.view import InstanceHealth
from ctrlplane_gitops.state.health import WHOLE, Health, HealthSpan
from ctrlplane_gitops.telemetry.series import Series

WINDOW = timedelta(hours=24)
_CELLS = 96
# Worst first: a cell shows the worst that was in its quarter of an hour.
_TONES = {Health.UNHEALTHY: "bad", Health.DEGRADED: "warn", Health.HEALTHY: "ok"}


def show_health(
    view: InstanceHealth, spans: Collection[HealthSpan], seen_at: datetime | None, now: datetime
) -> dict[str, Any] | None:
    """The last day as a strip of quarters of an hour; None where nothing is recorded."""
    whole = [item for item in spans if item.check == WHOLE]
    if not whole and view.health is Health.UNKNOWN:
        return None
    uptime = compute_uptime(whole, seen_at, now, WINDOW)
    text = "not known" if uptime.percent is None else percent(uptime.percent / 100)
    is_whole = uptime.known >= WINDOW * 0.99
    known = "the last 24 h" if is_whole else f"the {lasting(uptime.known)} that are known"
    summary = "no uptime yet" if uptime.percent is None else f"{text} up of {known}"
    return {
        "state": view.health.value,
        "uptime": text,
        "summary": summary,
        "span": "24 h",
        "bars": draw_strip(_cells(whole, seen_at, now)),
        "text": f"The last 24 h: {summary}",
        "checks": [
            {"name": item.check, "state": item.health.value, "said": item.message}
            for item in view.checks
        ],
    }


def _cells(
    spans: Collection[HealthSpan], seen_at: datetime | None, now: datetime
) -> list[tuple[str, str]]:
    width = WINDOW / _CELLS
    cells: list[Health | None] = [None] * _CELLS
    begin = now - WINDOW
    for span in spans:
        end = min(span.ended_at or seen_at or span.began_at, now)
        if end < begin:
            continue
        first = max(0, int((span.began_at - begin) / width))
        last = min(_CELLS - 1, int((end - begin) / width))
        for place in range(first, last + 1):
            cells[place] = _worse(cells[place], span.health)
    return [
        (f"{begin + place * width:%H:%M} {'not known' if item is None else item.value}",
         "none" if item is None else _TONES.get(item, "none"))
        for place, item in enumerate(cells)
    ]  # fmt: skip


def _worse(one: Health | None, other: Health) -> Health:
    ranks = list(_TONES)
    found = [item for item in (one, other) if item in ranks]
    return min(found, key=ranks.index, default=other)


def show_telemetry(series: Series) -> dict[str, Any] | None:
    """A line for each channel that is known; None where none is."""
    channels = (
        ("CPU", short_cpu),
        ("Memory", short_bytes),
        ("Network in", _rate),
        ("Network out", _rate),
    )
    columns = list(zip(*series.samples, strict=True)) or [()] * len(channels)
    lines = [
        line
        for (title, show), column in zip(channels, columns, strict=True)
        if (line := _show_line(title, column, show)) is not None
    ]
    if not lines:
        return None
    return {"span": f"last {lasting(series.step * len(series.samples))}", "lines": lines}


def _show_line(
    title: str, values: Sequence[float | None], show: Callable[[float | None], str]
) -> dict[str, Any] | None:
    picture = draw_spark(values)
    if picture is None:
        return None
    last, high = show(picture.last), show(picture.high)
    return {
        "title": title,
        "picture": picture,
        "last": last,
        "high": high,
        "text": f"{title}: {last} now, between {show(picture.low)} and {high}",
    }


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{short_bytes(value)}/s"
