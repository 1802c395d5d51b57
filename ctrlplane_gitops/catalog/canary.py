"""From ``strategy.canary`` to its steps and what they are judged by."""

from __future__ import annotations

from typing import Any

from ctrlplane_gitops.state.analysis import (
    Analysis,
    AnalysisCheck,
    CommandMetric,
    HttpMetric,
    Metric,
    MetricType,
    NoData,
    PrometheusMetric,
    Range,
    RouterMetric,
)
from ctrlplane_gitops.state.desired import CanaryStep, Json
from ctrlplane_gitops.units import parse_duration, parse_rate


def build_canary(canary: Json) -> dict[str, Any]:
    """The fields of RolloutParams that are a canary's own.

    >>> steps = [{"weight": 10, "pause": "manual"}, {"weight": 100}]
    >>> build_canary({"steps": steps})["canary_steps"]
    (CanaryStep(weight=10, pause=None), CanaryStep(weight=100, pause=datetime.timedelta(0)))
    """
    analysis = canary.get("analysis")
    return {
        "canary_steps": tuple(_step(item) for item in canary["steps"]),
        "analysis": None if analysis is None else build_analysis(analysis),
    }


def build_analysis(analysis: Json) -> Analysis:
    return Analysis(tuple(_check(item) for item in analysis["checks"]))


def _step(step: Json) -> CanaryStep:
    pause = step.get("pause", "0s")
    return CanaryStep(step["weight"], None if pause == "manual" else parse_duration(pause))


def _check(check: Json) -> AnalysisCheck:
    return AnalysisCheck(
        check["name"],
        _metric(check),
        parse_duration(check["interval"]),
        check["failureLimit"],
        check["inconclusiveLimit"],
        NoData(check["noData"]),
    )


def _metric(check: Json) -> Metric:
    tolerated = Range(check.get("min"), check.get("max"))
    doubt = check.get("inconclusive") or {}
    passing = Range(doubt.get("min", tolerated.low), doubt.get("max", tolerated.high))
    match MetricType(check["type"]):
        case MetricType.ROUTER:
            rate, latency = check.get("errorRate"), check.get("latency")
            return RouterMetric(
                None if rate is None else parse_rate(rate["max"]),
                None if latency is None else parse_duration(latency["max"]),
                check["minRequests"],
            )
        case MetricType.PROMETHEUS:
            return PrometheusMetric(check["address"], check["query"], passing, tolerated)
        case MetricType.HTTP:
            equals = check.get("equals")
            return HttpMetric(check["url"], check["path"], passing, tolerated, equals)
        case MetricType.COMMAND:
            return CommandMetric(tuple(check["command"]))
