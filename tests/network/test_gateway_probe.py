"""Asking an entry point whether it serves what its Gateway has accepted."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from ctrlplane_gitops.errors import UsageError
from ctrlplane_gitops.network.gateway.config import GatewayConfig, parse_config
from ctrlplane_gitops.network.gateway.probe import find_unserved
from ctrlplane_gitops.network.gateway.read import read_route
from ctrlplane_gitops.network.gateway.render import place, probe_path, render_route
from ctrlplane_gitops.state.traffic import Backend, RouteEntry
from tests.engines.program import free_port
from tests.network.test_gateway_pure import ENTRY, members

PATH = "/.well-known/ctrlplane-gitops/acme/web"
MOVED = replace(ENTRY, backends=(Backend(1, 50, members(1, 0)), Backend(2, 50, members(2, 0))))


class Edge(ThreadingHTTPServer):
    """An entry point that serves, by host, the HTTPRoute it was told of: ``shown`` is in turn what
    each connection meets."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.shown: list[dict[str, Any]] = []
        self.asked: list[tuple[str, str]] = []

    @property
    def config(self) -> GatewayConfig:
        return config_of(self.server_port)


class _Handler(BaseHTTPRequestHandler):
    server: Edge

    def do_GET(self) -> None:
        edge = self.server
        edge.asked.append((self.headers["Host"], self.path))
        shown = edge.shown.pop(0) if len(edge.shown) > 1 else edge.shown[0]
        for rule in shown["spec"]["rules"]:
            if rule["matches"][0]["path"] == {"type": "Exact", "value": self.path}:
                redirect = rule["filters"][0]["requestRedirect"]
                self.send_response(redirect["statusCode"])
                self.send_header("Location", f"http://{redirect['hostname']}{self.path}")
                break
        else:
            self.send_response(404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing is said of it."""


@contextmanager
def serving() -> Iterator[Edge]:
    with Edge() as edge:
        thread = threading.Thread(target=edge.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield edge
        finally:
            edge.shutdown()
            thread.join()


def config_of(port: int) -> GatewayConfig:
    web = {"listener": "http", "probe": f"http://127.0.0.1:{port}"}
    return parse_config({"gateway": "infra/public", "entryPoints": {"web": web}})


def render(config: GatewayConfig, entry: RouteEntry) -> dict[str, Any]:
    found = render_route("prod", config, entry, place(entry), "prod-acme")
    found["metadata"] |= {"uid": "u", "generation": 1}
    return found


def test_what_an_http_route_serves_can_be_asked_for() -> None:
    config = config_of(80)
    first, *others = render(config, ENTRY)["spec"]["rules"]
    assert probe_path(ENTRY) == PATH
    assert first["matches"] == [{"path": {"type": "Exact", "value": PATH}}]
    assert "backendRefs" not in first and len(others) == 2
    [redirect] = first["filters"]
    assert redirect["requestRedirect"]["hostname"].endswith(".ctrlplane-gitops.invalid")
    assert render(config, ENTRY)["spec"]["rules"][0] == first
    assert render(config, MOVED)["spec"]["rules"][0] != first


def test_it_is_read_back_as_it_was_written() -> None:
    config = config_of(80)
    raw = render(config, ENTRY)
    seen = read_route("prod", config, raw)
    assert (seen.entry, seen.is_as_written) == (ENTRY, True)
    raw["spec"]["rules"][-1]["backendRefs"][0]["weight"] = 7
    seen = read_route("prod", config, raw)
    assert not seen.is_as_written


def test_a_route_is_served_once_every_host_meets_it_over_new_connections() -> None:
    with serving() as edge:
        seen = read_route("prod", edge.config, render(edge.config, MOVED))
        old, new = render(edge.config, ENTRY), render(edge.config, MOVED)
        edge.shown = [old]
        [text] = find_unserved(edge.config, [seen])
        assert "does not serve it yet as a.example" in text
        # One of those who answer at that address is behind.
        edge.shown = [new, old, new]
        assert find_unserved(edge.config, [seen])
        edge.shown, edge.asked = [new], []
        assert find_unserved(edge.config, [seen]) == []
        hosts = ["a.example"] * 3 + ["b.example"] * 3
        assert edge.asked == [(host, PATH) for host in hosts]


def test_any_name_will_do_for_all_names_below_another() -> None:
    entry = replace(ENTRY, hosts=("*.example",))
    with serving() as edge:
        edge.shown = [render(edge.config, entry)]
        seen = read_route("prod", edge.config, edge.shown[0])
        assert find_unserved(edge.config, [seen]) == []
        assert {host for host, _ in edge.asked} == {"ctrlplane-gitops.example"}


def test_an_entry_point_that_does_not_answer_serves_nothing() -> None:
    config = config_of(free_port())
    seen = read_route("prod", config, render(config, ENTRY))
    [text] = find_unserved(config, [seen])
    assert "entry point 'web' does not answer" in text


def test_without_a_probe_nobody_is_asked() -> None:
    config = parse_config({"gateway": "infra/public", "entryPoints": {"web": "http"}})
    assert find_unserved(config, [read_route("prod", config, render(config, ENTRY))]) == []


@pytest.mark.parametrize(
    "probe",
    [
        "",
        "127.0.0.1:80",
        "https://127.0.0.1",
        "http://",
        "http://a/x",
        "http://a:x",
        "http://u@a",
        7,
    ],
)
def test_a_probe_that_cannot_be_asked_is_refused(probe: object) -> None:
    web = {"listener": "http", "probe": probe}
    with pytest.raises(UsageError, match="is not where it can be asked"):
        parse_config({"gateway": "infra/public", "entryPoints": {"web": web}})
