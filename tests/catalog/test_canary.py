"""From what may be written about a canary to what it means."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from ctrlplane_gitops.catalog.template import build_params
from ctrlplane_gitops.diagnostics import error
from ctrlplane_gitops.specs.document import Document
from ctrlplane_gitops.specs.validate import parse
from ctrlplane_gitops.state.analysis import (
    AnalysisCheck,
    CommandMetric,
    HttpMetric,
    NoData,
    PrometheusMetric,
    Range,
    RouterMetric,
    parse_json_path,
)
from ctrlplane_gitops.state.desired import CanaryStep, RolloutParams, StrategyType
from tests.catalog.catalog_kit import (
    ROUTER,
    STRATEGY,
    deployment,
    instance,
    plane,
    problems,
    route,
    tenant,
)

PORT = {"name": "http", "port": 8080}
HEAD = """
apiVersion: ctrlplane.dev/v1
kind: Deployment
metadata: {tenant: acme, name: web}
spec:
  instance: web
  image: shop:1
  strategy:
    type: canary
"""
CHECKS = """
    canary:
      steps: [{weight: 5, pause: manual}, {weight: 60}]
      analysis:
        interval: 10s
        checks:
          - {name: errors, type: router, errorRate: {max: 0.5%}, latency: {max: 500ms}}
          - name: rate
            type: prometheus
            address: http://prometheus:9090
            query: up
            max: 0.05
            min: 0
            inconclusive: {max: 0.02}
            failureLimit: 2
            inconclusiveLimit: 3
          - name: state
            type: http
            interval: 1m
            url: http://status:8080/web
            path: items[0].state
            equals: ok
            noData: fail
          - {name: smoke, type: command, command: ./smoke --quick}
"""


def read(text: str) -> dict[str, Any]:
    documents, diagnostics = parse({"web.yaml": (HEAD + text).encode()})
    assert not diagnostics
    strategy: dict[str, Any] = documents[0].spec["strategy"]
    return strategy


def test_each_type_of_check_means_what_it_says() -> None:
    params = build_params(read(CHECKS))
    second = timedelta(seconds=1)
    assert params.analysis is not None
    assert params.analysis.checks == (
        AnalysisCheck("errors", RouterMetric(0.005, second / 2, 10), 10 * second),
        AnalysisCheck(
            "rate",
            PrometheusMetric("http://prometheus:9090", "up", Range(0, 0.02), Range(0, 0.05)),
            10 * second,
            failure_limit=2,
            inconclusive_limit=3,
        ),
        AnalysisCheck(
            "state",
            HttpMetric("http://status:8080/web", "items[0].state", equals="ok"),
            60 * second,
            no_data=NoData.FAIL,
        ),
        AnalysisCheck("smoke", CommandMetric(("./smoke", "--quick")), 10 * second),
    )


def test_steps_are_those_of_the_specs() -> None:
    params = build_params(read(CHECKS))
    assert params.canary_steps == (CanaryStep(5, None), CanaryStep(60))
    assert build_params(read("")) == RolloutParams(StrategyType.CANARY)


def test_a_normalised_check_has_no_field_of_another_type() -> None:
    checks = read(CHECKS)["canary"]["analysis"]["checks"]
    common = {"name", "type", "interval", "failureLimit", "inconclusiveLimit", "noData"}
    assert [set(check) - common for check in checks] == [
        {"errorRate", "latency", "minRequests"},
        {"address", "query", "max", "min", "inconclusive"},
        {"url", "path", "equals"},
        {"command"},
    ]


@pytest.mark.parametrize("text", ["", ".", "a..b", "a.", "a[", "a[x]", "a[0]b", "a b", "a[-1]"])
def test_what_is_not_a_path_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a path"):
        parse_json_path(text)


# What it needs of other documents


COMMON = {"interval": "10s", "failureLimit": 0, "inconclusiveLimit": 0, "noData": "pass"}
FIELDS: dict[str, dict[str, Any]] = {
    "router": COMMON | {"minRequests": 10, "errorRate": {"max": "5%"}},
    "prometheus": COMMON | {"address": "http://a:9090", "query": "up", "max": 1},
    "http": COMMON | {"url": "http://a/", "path": "rate", "max": 1},
    "command": COMMON | {"command": ["check"]},
}


def canary(*checks: str) -> Document:
    listed = [FIELDS[kind] | {"name": kind, "type": kind} for kind in checks]
    block = {"steps": [{"weight": 10}], "analysis": {"interval": "30s", "checks": listed}}
    return deployment(strategy=STRATEGY | {"type": "canary", "canary": block})


def findings(*documents: Document, **more: Any) -> list[tuple[str, tuple[str | int, ...]]]:
    found = problems(tenant(), instance(ports=[PORT]), *documents, **more)
    return [(code, field) for code, _, field in found if code == "no-route"]


def test_a_router_is_measured_where_a_route_leads_to_the_instance() -> None:
    place = ("strategy", "canary", "analysis", "checks", 1, "type")
    assert findings(canary("http", "router")) == [("no-route", place)]
    assert findings(canary("http", "router"), route(), plane(router=ROUTER)) == []
    assert findings(canary("http", "router"), route()) == [("no-route", place)]
    assert findings(canary("http", "command", "prometheus")) == []


def test_a_route_that_could_not_be_read_is_not_missed() -> None:
    unread = error("syntax", "broken", tenant="acme")
    assert findings(canary("router"), diagnostics=[unread]) == []
    assert findings(canary("router"), diagnostics=[error("syntax", "broken")]) == []
