"""What Traefik is told, and what is made of its answers, without running one."""

import json
from dataclasses import replace
from typing import Any

import pytest

from ctrlplane_gitops.errors import UsageError
from ctrlplane_gitops.network.conformance import A, C, RouterConformance
from ctrlplane_gitops.network.conformance_kit import RouterKit, backend, route_key
from ctrlplane_gitops.network.options import EntryPoint
from ctrlplane_gitops.network.traefik.config import parse_config
from ctrlplane_gitops.network.traefik.read import read_counts, read_served
from ctrlplane_gitops.network.traefik.render import (
    dump,
    render_entry,
    render_sentinel,
    render_static,
    sentinel_file,
)
from ctrlplane_gitops.state.traffic import RouteEntry, TrafficCount

ENTRY = RouterKit().entry(backend(1, 90, A), backend(2, 10, C))
POINTS = frozenset({"web"})


def rawdata(*entries: RouteEntry, plane: str = "p") -> dict[str, Any]:
    """As Traefik would answer for these."""
    http: dict[str, dict[str, Any]] = {"routers": {}, "services": {}, "middlewares": {}}
    sentinel = render_sentinel(plane, "abc123", {"web": False})
    files = [render_entry(plane, it, is_tls=False, pem=None) for it in entries]
    for file in (*files, sentinel):
        for kind, items in file["http"].items():
            http[kind] |= {
                f"{name}@file": {**it, "status": "enabled"} for name, it in items.items()
            }
    return http


def test_what_was_rendered_is_read_back() -> None:
    for entry in (*RouterConformance().rich_entries(), ENTRY):
        served = read_served("p", rawdata(replace(entry, certificate=None)), POINTS)
        assert served.table.entries == (replace(entry, certificate=None),)
        assert (served.generation, served.faults) == ("abc123", ())


def test_what_somebody_changed_is_seen() -> None:
    raw = rawdata(ENTRY)
    raw["services"]["p.acme.web.-@file"]["weighted"]["services"][1]["weight"] = 60
    raw["services"]["p.acme.web.-.v1@file"]["loadBalancer"]["servers"] = []
    (seen,) = read_served("p", raw, POINTS).table.entries
    assert [(it.weight, len(it.members)) for it in seen.backends] == [(90, 0), (60, 1)]


def test_what_is_not_ours_is_not_read() -> None:
    raw = rawdata(ENTRY, plane="p2")
    raw["routers"] |= {"web@docker": {"rule": "Host(`x`)", "status": "disabled"}, "p@file": {}}
    served = read_served("p", raw, POINTS)
    assert (served.table.entries, served.generation, served.faults) == ((), "", ())


def test_a_refused_router_is_a_fault_with_its_address() -> None:
    raw = rawdata(replace(ENTRY, variant="preview"))
    name = "p.acme.web.preview@file"
    raw["routers"][name] |= {"status": "disabled", "error": ["bad rule"]}
    assert read_served("p", raw, POINTS).faults == ("route/acme/web (preview): bad rule",)
    raw["routers"][name] = {"rule": "Host(`x`)", "status": "enabled"}
    assert "not as we write it" in read_served("p", raw, POINTS).faults[0]


def test_a_generation_counts_only_when_every_entry_point_has_it() -> None:
    raw = rawdata()
    assert read_served("p", raw, POINTS).generation == "abc123"
    assert read_served("p", raw, POINTS | {"websecure"}).generation == ""
    raw["routers"]["p.-sentinel.web@file"]["status"] = "disabled"
    assert read_served("p", raw, POINTS).generation == ""


def test_the_sentinel_is_read_before_every_route_of_its_plane() -> None:
    names = ["p.0.web.-.yml", "p.acme.web.-.yml", sentinel_file("p")]
    assert sorted(names)[0] == sentinel_file("p")


def test_a_longer_path_and_a_header_win() -> None:
    def priorities(entry: RouteEntry) -> list[int]:
        routers = render_entry("p", entry, is_tls=False, pem=None)["http"]["routers"]
        return sorted(router["priority"] for router in routers.values())

    rich = RouterConformance().rich_entries()[0]
    root = priorities(replace(rich, path="/"))
    longer = priorities(replace(rich, path="/a"))
    assert root[0] < root[1] < longer[0] < longer[1]


def test_counts_add_up_over_methods_codes_and_variants() -> None:
    text = """
# TYPE traefik_service_requests_total counter
traefik_service_requests_total{code="200",method="GET",protocol="http",service="p.acme.web.-.v1@file"} 10
traefik_service_requests_total{code="502",method="POST",protocol="http",service="p.acme.web.-.v1@file"} 2
traefik_service_requests_total{code="404",method="GET",protocol="http",service="p.acme.web.preview.v1@file"} 1
traefik_service_requests_total{code="200",method="GET",protocol="http",service="p2.acme.web.-.v1@file"} 7
traefik_service_request_duration_seconds_sum{code="200",method="GET",protocol="http",service="p.acme.web.-.v1@file"} 1.5
traefik_service_request_duration_seconds_bucket{code="200",le="0.1",service="p.acme.web.-.v1@file"} 10
"""  # noqa: E501
    assert read_counts("p", text) == {(route_key("web"), 1): TrafficCount(13, 2, 1.5)}


def test_it_calls_nobody_and_answers_itself_on_loopback_only() -> None:
    static = render_static((EntryPoint("web", "", 8080),), 9999, "/d")
    assert static["global"] == {"checkNewVersion": False, "sendAnonymousUsage": False}
    assert static["entryPoints"]["traefik"]["address"] == "127.0.0.1:9999"
    assert static["entryPoints"]["web"]["address"] == ":8080"
    assert static["providers"]["providersThrottleDuration"] == "50ms"
    assert json.loads(dump(static)) == static


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"binaray": "/x"}, "binaray"),
        ({"managed": "no"}, "true or false"),
        ({"managed": False}, "directory is missing"),
        ({"managed": False, "directory": "/d"}, "api is missing"),
        ({"managed": False, "directory": "d", "api": "http://h"}, "not absolute"),
        ({"managed": False, "directory": "/d", "api": "h:80"}, "not a URL"),
        ({"managed": False, "directory": "/d", "api": "http://u:p@h"}, "without credentials"),
        ({"managed": False, "directory": "/d", "api": "http://h", "binary": "/b"}, "no meaning"),
        ({"directory": "/d"}, "no meaning"),
        ({"binary": 7}, "not a text"),
        ({"entryPoints": {"traefik": ":80"}}, "its API's"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        parse_config(options)
