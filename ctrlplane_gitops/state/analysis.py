"""What is measured of a canary, what counts as good, and what one measurement said."""

from __future__ import annotations

import re
from datetime import timedelta
from enum import StrEnum
from typing import TypeAlias

from ctrlplane_gitops.value import struct

_PART = re.compile(r"(?:^|\.)([^\s.\[\]]+)|\[(\d{1,9})\]")


class MetricType(StrEnum):
    ROUTER = "router"
    PROMETHEUS = "prometheus"
    HTTP = "http"
    COMMAND = "command"


class NoData(StrEnum):
    """What a measurement without data counts as."""

    INCONCLUSIVE = "inconclusive"
    PASS = "pass"
    FAIL = "fail"


@struct
class Range:
    """Both ends are inside; None is no end."""

    low: float | None = None
    high: float | None = None


@struct
class RouterMetric:
    """The share of requests to the new release that were answered 5xx or not at all (0 to 1), and
    the mean time they took; None is not looked at. Fewer than ``min_requests`` are no data."""

    max_error_rate: float | None = None
    max_latency: timedelta | None = None
    min_requests: int = 10


@struct
class PrometheusMetric:
    """An instant query at the HTTP API below ``address``. A value in ``passing`` passes, one
    outside of ``tolerated`` fails, one between the two is inconclusive."""

    address: str
    query: str
    passing: Range = Range()
    tolerated: Range = Range()


@struct
class HttpMetric:
    """The value at ``path`` of the JSON at ``url``: a number, by the same rules, or with
    ``equals`` exactly that value."""

    url: str
    path: str
    passing: Range = Range()
    tolerated: Range = Range()
    equals: str | float | bool | None = None


@struct
class CommandMetric:
    """Run inside a replica of the new release: exit code 0 passes, 1 fails, 2 is inconclusive, any
    other is an error."""

    command: tuple[str, ...]


Metric: TypeAlias = RouterMetric | PrometheusMetric | HttpMetric | CommandMetric


@struct
class AnalysisCheck:
    """One thing that is measured every ``interval``, the first time after one. More than
    ``failure_limit`` failures fail it; more than ``inconclusive_limit`` inconclusive measurements,
    or so many without data in a row, make it inconclusive; more than ``error_limit`` errors in a
    row fail it too."""

    name: str
    metric: Metric
    interval: timedelta = timedelta(seconds=30)
    failure_limit: int = 0
    inconclusive_limit: int = 0
    no_data: NoData = NoData.INCONCLUSIVE
    error_limit: int = 4


@struct
class Analysis:
    """What is measured while a canary goes through its steps; names are unique."""

    checks: tuple[AnalysisCheck, ...]


@struct
class TrafficRate:
    """What a router counted of one release between two looks: how many requests, the share that
    was answered 5xx or not at all (0 to 1), the mean seconds they took."""

    requests: int
    error_rate: float
    latency_s: float


Value: TypeAlias = str | float | bool | TrafficRate


@struct
class Measurement:
    """One look. ``value`` is None where there is no data, and ``note`` says why; ``error`` is why
    it could not be measured at all. A command's value is its exit code. No body is quoted."""

    value: Value | None = None
    error: str = ""
    note: str = ""


def parse_json_path(text: str) -> tuple[str | int, ...]:
    """Keys and places of lists from the root of a JSON value; ValueError for anything else. Keys
    with a dot, a bracket or a blank cannot be written.

    >>> parse_json_path("data.rate"), parse_json_path("items[0].value"), parse_json_path("[2][0]")
    (('data', 'rate'), ('items', 0, 'value'), (2, 0))
    """
    parts: list[str | int] = []
    end = 0
    while end < len(text):
        match = _PART.match(text, end)
        if match is None:
            break
        parts.append(match[1] if match[1] is not None else int(match[2]))
        end = match.end()
    if not parts or end < len(text):
        raise ValueError(f"{text!r} is not a path such as 'data.rate' or 'items[0].value'")
    return tuple(parts)
