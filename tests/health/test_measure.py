"""What is asked, and what an answer is worth."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from ctrlplane_gitops.errors import ProviderError
from ctrlplane_gitops.health.measure import measure, names_of, read_json, read_query
from ctrlplane_gitops.health.traffic import measure_traffic
from ctrlplane_gitops.http.fetch import Reply
from ctrlplane_gitops.state.analysis import (
    CommandMetric,
    HttpMetric,
    Measurement,
    PrometheusMetric,
    RouterMetric,
    TrafficRate,
)
from ctrlplane_gitops.state.traffic import TrafficCount
from tests.health.test_probes import LONG, no_command
from tests.http.json_server import json_server

NAMES = names_of("acme", "web", 7, 6)


def data(kind: str, result: Any) -> bytes:
    import json

    return json.dumps(
        {"status": "success", "data": {"resultType": kind, "result": result}}
    ).encode()


def one(value: str) -> bytes:
    return data("vector", [{"metric": {}, "value": [1700000000.1, value]}])


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (one("0.25"), Measurement(0.25)),
        (one("+Inf"), Measurement(float("inf"))),
        (data("scalar", [1, "3"]), Measurement(3.0)),
        (one("NaN"), Measurement(note="the value is NaN")),
        (data("vector", []), Measurement(note="the query gives no series")),
        (data("vector", [{"value": [1, "1"]}] * 3),
         Measurement(error="the query gives 3 series, not one: aggregate it")),
        (data("matrix", []), Measurement(error="the query gives a matrix, not one value")),
        (data("vector", [{"histogram": [1, {}]}]),
         Measurement(error="the answer is not that of a Prometheus")),
        (b'{"status": "error", "errorType": "bad_data", "error": "parse error\\n"}',
         Measurement(error="the query failed (bad_data): parse error ")),
    ],
)  # fmt: skip
def test_what_a_prometheus_answers(body: bytes, expected: Measurement) -> None:
    assert read_query(Reply(200, body)) == expected


@pytest.mark.parametrize("body", [b"", b"[]", b"7", b"{}", b"[" * 100_000, b'{"status":"success"}'])
def test_what_is_not_a_prometheus_is_said_to_be(body: bytes) -> None:
    wrong = Measurement(error="the answer is not that of a Prometheus")
    assert read_query(Reply(200, body)) == wrong
    assert read_query(Reply(503, body)) == Measurement(error="status 503")


@pytest.mark.parametrize(
    ("body", "path", "expected"),
    [
        (b'{"data": {"rate": 0.5}}', "data.rate", Measurement(0.5)),
        (b'{"items": [{"value": 7}]}', "items[0].value", Measurement(7)),
        (b'[[1, "ok"]]', "[0][1]", Measurement("ok")),
        (b'{"a": false}', "a", Measurement(False)),
        (b'{"a": 0}', "a", Measurement(0)),
        (b'{"a": null}', "a", Measurement(note="a is null")),
        (b'{"a": NaN}', "a", Measurement(note="the value is NaN")),
        (b'{"a": []}', "a[0]", Measurement(note="the answer has no a[0]")),
        (b'{"a": [1]}', "a.b", Measurement(note="the answer has no a.b")),
        (b'"text"', "a", Measurement(note="the answer has no a")),
        (b'{"a": {}}', "a", Measurement(error="a is a mapping")),
        (b'{"a": [1]}', "a", Measurement(error="a is a list")),
        (b'{"a": 1' + b"0" * 400 + b"}", "a", Measurement(error="the number is too large")),
        (b'{"a": 1' + b"0" * 5000 + b"}", "a", Measurement(error="the answer is not JSON")),
        (b"<html>", "a", Measurement(error="the answer is not JSON")),
        (b"\xff", "a", Measurement(error="the answer is not JSON")),
        (b"[" * 100_000, "a", Measurement(error="the answer is not JSON")),
    ],
)  # fmt: skip
def test_what_json_holds(body: bytes, path: str, expected: Measurement) -> None:
    assert read_json(Reply(200, body), path) == expected


def test_json_of_an_error_is_no_value() -> None:
    assert read_json(Reply(500, b'{"a": 1}'), "a") == Measurement(error="status 500")


def test_names_stand_for_what_is_rolled_out() -> None:
    query = 'sum(errors{release="$(RELEASE)",old="$(PREVIOUS)",of="$(TENANT)/$(INSTANCE)"}) & "$$"'
    with json_server() as server:
        address = server.url("/prometheus/")
        result = measure(PrometheusMetric(address, query), NAMES, no_command, LONG)
        assert result == Measurement(error="the answer is not that of a Prometheus") or result.error
        server.pages["/acme?of=7"] = (200, {"a": 1})
        metric = HttpMetric(server.url("/$(TENANT)?of=$(RELEASE)"), "a")
        assert measure(metric, NAMES, no_command, LONG) == Measurement(1)
        path, asked = urlsplit(server.asked[0]).path, parse_qs(urlsplit(server.asked[0]).query)
    assert path == "/prometheus/api/v1/query"
    assert asked == {"query": ['sum(errors{release="7",old="6",of="acme/web"}) & "$"']}
    assert names_of("acme", "web", 1, None)["PREVIOUS"] == ""


def test_a_source_that_is_not_there_is_an_error() -> None:
    with json_server() as server:
        url = server.url()
    for metric in (PrometheusMetric(url, "up"), HttpMetric(url, "a")):
        assert measure(metric, NAMES, no_command, LONG) == Measurement(error="connection refused")


def run(outcome: int | Exception) -> Measurement:
    def run_command(command: Sequence[str], timeout: timedelta) -> int:
        assert (list(command), timeout) == (["./smoke", "v7"], LONG)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return measure(CommandMetric(("./smoke", "v$(RELEASE)")), NAMES, run_command, LONG)


def test_a_command_is_measured_by_its_exit_code() -> None:
    assert [run(code) for code in (0, 1, 2, 127)] == [Measurement(code) for code in (0, 1, 2, 127)]
    assert run(ProviderError("no replica")) == Measurement(error="no replica")
    assert run(TimeoutError()) == Measurement(error="no answer within 20s")
    assert run(ConnectionResetError()) == Measurement(error="connectionreseterror")


def test_a_router_is_measured_between_two_looks() -> None:
    before = TrafficCount(100, 10, 50.0)
    found = measure_traffic(RouterMetric(), before, TrafficCount(110, 12, 51.0))
    assert found == Measurement(TrafficRate(10, 0.2, 0.1))
    found = measure_traffic(RouterMetric(), before, TrafficCount(101, 10, 50.1))
    assert found == Measurement(note="1 request, fewer than 10")
    assert measure_traffic(RouterMetric(min_requests=0), before, before).value is None


@pytest.mark.parametrize(
    "after", [TrafficCount(99, 10, 51), TrafficCount(200, 9, 51), TrafficCount(200, 10, 49)]
)
def test_counters_that_began_anew_are_no_data(after: TrafficCount) -> None:
    found = measure_traffic(RouterMetric(), TrafficCount(100, 10, 50.0), after)
    assert found == Measurement(note="the router's counters began anew")
