"""Entries as HTTPRoutes, and HTTPRoutes as entries."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from ctrlplane_gitops.errors import UsageError
from ctrlplane_gitops.network.gateway.config import parse_config
from ctrlplane_gitops.network.gateway.read import Seen, read_route
from ctrlplane_gitops.network.gateway.render import (
    NOBODY,
    UnservableError,
    place,
    render_route,
    route_name,
)
from ctrlplane_gitops.network.gateway.verdict import Verdict
from ctrlplane_gitops.state.key import Kind, ResourceKey, instance_key
from ctrlplane_gitops.state.traffic import Backend, HeaderRule, Member, RouteEntry, RouteHealth

CONFIG = parse_config(
    {
        "gateway": "infra/public",
        "entryPoints": {"web": "http", "websecure": {"listener": "https", "tls": True}},
    }
)
KEY, WEB = ResourceKey(Kind.ROUTE, "acme", "web"), instance_key("acme", "web")


def members(release: int, *numbers: int) -> tuple[Member, ...]:
    host = f"web-v{release}.prod-acme.svc"
    return tuple(Member(f"prod.acme.web.v{release}.{it}", host, 8080) for it in numbers)


ENTRY = RouteEntry(
    KEY,
    WEB,
    ("a.example", "b.example"),
    "/api",
    (Backend(1, 90, members(1, 0, 1)), Backend(2, 10, members(2, 0)), Backend(3, 0)),
    strip_prefix=True,
    header=HeaderRule("X-Canary", "yes", 2),
    health=RouteHealth("/healthz", timedelta(seconds=2), timedelta(seconds=1)),
)


def reference(release: int, weight: int) -> dict[str, Any]:
    return {
        "group": "",
        "kind": "Service",
        "name": f"web-v{release}",
        "port": 8080,
        "weight": weight,
    }


REWRITE = {
    "type": "URLRewrite",
    "urlRewrite": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}},
}
PREFIX = {"type": "PathPrefix", "value": "/api"}


def render(entry: RouteEntry) -> dict[str, Any]:
    return render_route("prod", CONFIG, entry, place(entry), "prod-acme")


def test_an_entry_is_an_http_route_of_the_tenants_namespace() -> None:
    found = render(ENTRY)
    assert found["metadata"]["name"] == "web"
    assert found["metadata"]["namespace"] == "prod-acme"
    assert found["metadata"]["labels"] == {
        "ctrlplane.dev/plane": "prod",
        "ctrlplane.dev/tenant": "acme",
        "ctrlplane.dev/instance": "web",
        "ctrlplane.dev/route": "web",
    }
    header = {"type": "Exact", "name": "X-Canary", "value": "yes"}
    assert found["spec"] == {
        "parentRefs": [
            {
                "group": "gateway.networking.k8s.io",
                "kind": "Gateway",
                "namespace": "infra",
                "name": "public",
                "sectionName": "http",
            }
        ],
        "hostnames": ["a.example", "b.example"],
        "rules": [
            {
                "matches": [{"path": PREFIX, "headers": [header]}],
                "filters": [REWRITE],
                "backendRefs": [reference(2, 1)],
            },
            {
                "matches": [{"path": PREFIX}],
                "filters": [REWRITE],
                "backendRefs": [reference(1, 90), reference(2, 10)],
            },
        ],
    }


def test_a_share_of_nobody_leads_to_a_service_that_selects_nobody() -> None:
    entry = replace(ENTRY, backends=(Backend(1, 50, members(1, 0)), Backend(2, 50)), header=None)
    [rule] = render(entry)["spec"]["rules"]
    assert [(it["name"], it["weight"]) for it in rule["backendRefs"]] == [
        ("web-v1", 50),
        (NOBODY, 50),
    ]


def test_a_variant_has_a_name_of_its_own() -> None:
    assert route_name(replace(ENTRY, variant="preview")) == "web.preview"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"is_sticky": True}, "sticky"),
        ({"hosts": ("192.0.2.1",)}, "names alone"),
        ({"backends": (Backend(1, 100, (Member("r", "127.0.0.1", 80),)),)}, "no Service"),
        (
            {"backends": (Backend(1, 100, (*members(1, 0), *members(2, 0))),)},
            "not those of one Service",
        ),
        (
            {
                "backends": (
                    Backend(1, 100, (Member("r", "a.x.svc", 1), Member("s", "a.y.svc", 1))),
                )
            },
            "not those of one Service",
        ),
        (
            {
                "backends": (
                    Backend(1, 50, (Member("r", "a.x.svc", 1),)),
                    Backend(2, 50, (Member("s", "b.y.svc", 1),)),
                )
            },
            "several namespaces",
        ),
    ],
)
def test_what_cannot_be_an_http_route_says_why(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(UnservableError, match=reason):
        place(replace(ENTRY, **change))


def test_a_replica_that_kubernetes_replaced_changes_nothing() -> None:
    """Its name and its Service are those of before; its address is Kubernetes' affair."""
    assert render(ENTRY) == render(copy.deepcopy(ENTRY))


# Reading back.


def shown(entry: RouteEntry = ENTRY, **status: Any) -> dict[str, Any]:
    """As the API server has it, with what the Gateway says of it."""
    found = copy.deepcopy(render(entry))
    found["metadata"] |= {"uid": "u", "generation": 3, "managedFields": []}
    condition = {"status": "True", "observedGeneration": 3, "reason": "Fine", "message": ""}
    accepted = {**condition, "type": "Accepted", **status.get("accepted", {})}
    resolved = {**condition, "type": "ResolvedRefs", **status.get("resolved", {})}
    found["status"] = {
        "parents": [
            {
                "controllerName": "example/controller",
                "parentRef": found["spec"]["parentRefs"][0],
                "conditions": [accepted, resolved],
            }
        ]
    }
    return found


def read(raw: dict[str, Any]) -> Seen:
    return read_route("prod", CONFIG, raw)


@pytest.mark.parametrize(
    "entry",
    [
        ENTRY,
        replace(ENTRY, header=None, path="/", variant="preview"),
        replace(ENTRY, backends=(Backend(0, 100),), header=None),
        replace(ENTRY, entry_point="websecure"),
    ],
)
def test_what_is_read_back_is_the_entry(entry: RouteEntry) -> None:
    seen = read(shown(entry))
    assert (seen.entry, seen.is_as_written) == (entry, True)
    assert (seen.verdict, seen.is_live) == (Verdict(), True)


def edit_weights(raw: dict[str, Any]) -> None:
    for item in raw["spec"]["rules"][-1]["backendRefs"]:
        item["weight"] = 50


def edit_hosts(raw: dict[str, Any]) -> None:
    raw["spec"]["hostnames"] = ["theirs.example"]


def add_filter(raw: dict[str, Any]) -> None:
    raw["spec"]["rules"][-1]["filters"].append({"type": "RequestMirror"})


def spoil_note(raw: dict[str, Any]) -> None:
    raw["metadata"]["annotations"] = {}


def test_weights_changed_by_hand_are_seen_as_they_are() -> None:
    raw = shown()
    edit_weights(raw)
    raw["metadata"]["managedFields"] = [
        {"manager": "kubectl-edit", "fieldsV1": {"f:spec": {}}},
        {"manager": "its-controller", "fieldsV1": {"f:status": {}}, "subresource": "status"},
    ]
    seen = read(raw)
    assert seen.entry is not None and not seen.is_as_written
    assert [item.weight for item in seen.entry.backends] == [50, 50, 0]
    assert seen.strangers == ("kubectl-edit",)


def test_hosts_changed_by_hand_are_seen_as_they_are() -> None:
    raw = shown()
    edit_hosts(raw)
    seen = read(raw)
    assert seen.entry is not None and seen.entry.hosts == ("theirs.example",)
    assert not seen.is_as_written


@pytest.mark.parametrize("spoil", [add_filter, spoil_note])
def test_what_is_not_to_be_understood_is_no_entry(spoil: Callable[[Any], None]) -> None:
    raw = shown()
    spoil(raw)
    seen = read(raw)
    assert (seen.entry, seen.is_as_written) == (None, False)


@pytest.mark.parametrize(
    ("status", "waits_for", "refusal"),
    [
        ({"accepted": {"observedGeneration": 2}}, "has not said Accepted", None),
        ({"resolved": {"observedGeneration": 2}}, "has not said ResolvedRefs", None),
        (
            {"accepted": {"status": "False", "reason": "NotAllowedByListeners", "message": "no"}},
            "",
            "NotAllowedByListeners: no",
        ),
        (
            {"resolved": {"status": "False", "reason": "RefNotPermitted", "message": ""}},
            "",
            "RefNotPermitted",
        ),
        # Said of another generation it means nothing of this one.
        (
            {"accepted": {"status": "False", "observedGeneration": 2}},
            "has not said Accepted",
            None,
        ),
    ],
)
def test_live_is_what_the_gateway_says_of_this_very_generation(
    status: dict[str, Any], waits_for: str, refusal: str | None
) -> None:
    seen = read(shown(ENTRY, **status))
    said = seen.verdict
    assert waits_for in said.waits_for and bool(waits_for) == bool(said.waits_for)
    assert said.refusal == refusal


def test_a_service_that_is_missing_is_no_refusal() -> None:
    """The route is taken as it is; the Service is its provider's to make again."""
    seen = read(shown(resolved={"status": "False", "reason": "BackendNotFound", "message": "web"}))
    assert seen.verdict == Verdict(missing="BackendNotFound: web") and seen.is_live


def test_what_another_gateway_says_is_not_asked() -> None:
    raw = shown()
    raw["status"]["parents"][0]["parentRef"] = {"name": "public", "namespace": "other"}
    assert "infra/public has not answered" in read(raw).verdict.waits_for


# Options.


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({}, "gateway is missing"),
        ({"gateway": "public"}, "no Gateway"),
        ({"gateway": "a/b", "entryPoints": {}}, "entryPoints"),
        ({"gateway": "a/b", "entryPoints": {"web": ":80"}}, "not the name of a listener"),
        ({"gateway": "a/b", "entryPoints": {"web": {"listner": "x"}}}, "no option 'listner'"),
        ({"gateway": "a/b", "entryPoints": {"web": {"tls": "yes"}}}, "tls"),
        ({"gateway": "a/b", "gatway": "x"}, "no option 'gatway'"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        parse_config(options)
