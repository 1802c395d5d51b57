"""What one measured value says by the rules of its metric. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import assert_never

from ctrlplane_gitops.state.analysis import (
    CommandMetric,
    HttpMetric,
    Metric,
    PrometheusMetric,
    Range,
    RouterMetric,
    TrafficRate,
    Value,
)
from ctrlplane_gitops.units import format_duration, format_rate
from ctrlplane_gitops.value import struct

_MAX_SHOWN = 60


class Sign(StrEnum):
    """``missing``: there was no value, and that counts as inconclusive."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    MISSING = "missing"
    ERROR = "error"


@struct
class Reading:
    """``message`` says what was seen, and where it did not pass, what it should have been."""

    sign: Sign
    message: str = ""


def read_value(metric: Metric, value: Value) -> Reading:
    """Total: a value of another type than the metric's is an error."""
    match metric:
        case RouterMetric():
            if isinstance(value, TrafficRate):
                return _read_traffic(metric, value)
            return Reading(Sign.ERROR, f"{_show(value)} is not a count of requests")
        case CommandMetric():
            return _read_exit_code(value)
        case HttpMetric(equals=str() | int() | float() as wanted):
            is_same = isinstance(wanted, bool) is isinstance(value, bool) and value == wanted
            shown = _show(value)
            if is_same:
                return Reading(Sign.PASS, shown)
            return Reading(Sign.FAIL, f"{shown}, not {_show(wanted)}")
        case PrometheusMetric() | HttpMetric():
            return _read_number(value, metric.passing, metric.tolerated)
        case _:
            assert_never(metric)


def _read_traffic(metric: RouterMetric, rate: TrafficRate) -> Reading:
    """
    >>> _read_traffic(RouterMetric(max_error_rate=0.05), TrafficRate(47, 0.2127659, 0.1)).message
    'error rate 21.3% > 5%'
    """
    parts, faults = [], []
    if metric.max_error_rate is not None:
        shown = f"error rate {rate.error_rate * 100:.3g}%"
        parts.append(shown)
        if rate.error_rate > metric.max_error_rate:
            faults.append(f"{shown} > {format_rate(metric.max_error_rate)}")
    if metric.max_latency is not None:
        shown = f"latency {rate.latency_s * 1000:.4g}ms"
        parts.append(shown)
        if rate.latency_s > metric.max_latency.total_seconds():
            faults.append(f"{shown} > {format_duration(metric.max_latency)}")
    sign = Sign.FAIL if faults else Sign.PASS
    return Reading(sign, ", ".join(faults or parts))


def _read_exit_code(value: Value) -> Reading:
    signs = {0: Sign.PASS, 1: Sign.FAIL, 2: Sign.INCONCLUSIVE}
    code = value if isinstance(value, int) and not isinstance(value, bool) else -1
    return Reading(signs.get(code, Sign.ERROR), f"exit code {_show(value)}")


def _read_number(value: Value, passing: Range, tolerated: Range) -> Reading:
    """
    >>> _read_number(0.3, Range(high=0.05), Range(high=0.1)).message
    '0.3 > 0.1'
    >>> _read_number(0.07, Range(high=0.05), Range(high=0.1))
    Reading(sign=<Sign.INCONCLUSIVE: 'inconclusive'>, message='0.07 > 0.05')
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return Reading(Sign.ERROR, f"{_show(value)} is not a number")
    outside = _leave(value, tolerated)
    if outside:
        return Reading(Sign.FAIL, outside)
    doubt = _leave(value, passing)
    return Reading(Sign.INCONCLUSIVE, doubt) if doubt else Reading(Sign.PASS, _show(value))


def _leave(value: float, limits: Range) -> str:
    """How a number leaves a range, "" for one inside. What is not a number at all is nowhere
    inside."""
    if limits.high is not None and not value <= limits.high:
        return f"{_show(value)} > {_show(limits.high)}"
    if limits.low is not None and not value >= limits.low:
        return f"{_show(value)} < {_show(limits.low)}"
    return ""


def _show(value: Value) -> str:
    """
    >>> _show(0.2131579), _show("a" * 99)[-5:], _show(True), _show(1200000)
    ('0.2132', "aa..'", 'true', '1200000')
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"'{_cut(value)}'"
    if isinstance(value, TrafficRate):
        return f"{value.requests} requests"
    return _cut(str(value)) if isinstance(value, int) else f"{value:.4g}"


def _cut(text: str) -> str:
    shown = "".join(char if char.isprintable() else "?" for char in text[:_MAX_SHOWN])
    return shown + ".." if len(text) > _MAX_SHOWN else shown
