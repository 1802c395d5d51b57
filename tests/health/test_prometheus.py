"""Queries against a real Prometheus."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ctrlplane_gitops.clock import monotonic_s, sleep
from ctrlplane_gitops.health.measure import measure, names_of
from ctrlplane_gitops.state.analysis import Measurement, PrometheusMetric
from tests.engines.prometheus import prometheus_server
from tests.health.test_probes import LONG, no_command
from tests.http.json_server import json_server

pytestmark = pytest.mark.prometheus

METRICS = b"""# TYPE requests_total counter
requests_total{release="1",code="200"} 900
requests_total{release="2",code="200"} 75
requests_total{release="2",code="500"} 25
# TYPE latency_seconds histogram
latency_seconds_bucket{le="0.1"} 0
latency_seconds_bucket{le="+Inf"} 0
latency_seconds_sum 0
latency_seconds_count 0
"""
RATE = (
    'sum(requests_total{release="$(RELEASE)",code=~"5.*"})'
    ' / sum(requests_total{release="$(RELEASE)"})'
)


@pytest.fixture(scope="module")
def address(prometheus: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a Prometheus that has scraped METRICS."""
    root = tmp_path_factory.mktemp("prometheus")
    with json_server() as app:
        app.pages["/metrics"] = (200, METRICS)
        with prometheus_server(prometheus, root, f"127.0.0.1:{app.server_port}") as address:
            deadline = monotonic_s() + 30
            while ask(address, "count(requests_total)").value != 3:
                assert monotonic_s() < deadline, "never scraped"
                sleep(0.1)
            yield address


def ask(address: str, query: str, release: int = 2) -> Measurement:
    names = names_of("acme", "web", release, release - 1)
    return measure(PrometheusMetric(address, query), names, no_command, LONG)


def test_the_error_rate_of_a_release_is_one_number(address: str) -> None:
    assert ask(address, RATE) == Measurement(0.25)
    assert ask(f"{address}/", 'sum(requests_total{release="$(PREVIOUS)"})') == Measurement(900.0)
    assert ask(address, "scalar(count(requests_total)) + 1") == Measurement(4.0)


def test_a_release_nobody_knows_is_no_data(address: str) -> None:
    assert ask(address, RATE, release=9) == Measurement(note="the query gives no series")


def test_what_divides_by_nothing_is_no_data(address: str) -> None:
    query = "latency_seconds_sum / latency_seconds_count"
    assert ask(address, query) == Measurement(note="the value is NaN")
    assert ask(address, "1 + latency_seconds_sum / 0 > 0").value is None
    assert ask(address, "vector(1) / 0") == Measurement(float("inf"))


def test_several_series_are_an_error_that_says_so(address: str) -> None:
    assert ask(address, "requests_total") == Measurement(
        error="the query gives 3 series, not one: aggregate it"
    )
    assert ask(address, "requests_total[1m]").error == "the query gives a matrix, not one value"
    assert ask(address, '"text"').error == "the query gives a string, not one value"


def test_a_query_that_is_wrong_is_an_error_with_its_reason(address: str) -> None:
    assert ask(address, "sum(").error.startswith("the query failed (bad_data): ")
    assert ask(address, "requests_total + on(code) requests_total").error.startswith(
        "the query failed (execution): "
    )


def test_another_path_is_not_a_prometheus(address: str) -> None:
    assert ask(f"{address}/nowhere", "up") == Measurement(error="status 404")
