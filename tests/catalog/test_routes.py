"""What routes need, and where two of them collide."""

from __future__ import annotations

import pytest

from tests.catalog.catalog_kit import (
    ROUTER,
    STRATEGY,
    build,
    deployment,
    instance,
    only,
    plane,
    problems,
    route,
    secret,
    shop,
    tenant,
)

HTTP = {"name": "http", "port": 80}


def test_a_route_needs_its_instance_its_port_and_its_certificate() -> None:
    bad = [
        route("acme/a", line=41, instance="wep", hosts=["a.example"]),
        route("acme/b", line=42, instance="web", hosts=["b.example"], port="htpp"),
        route("acme/c", line=43, instance="web", hosts=["c.example"], tls={"certificate": "crt"}),
        route("acme/d", line=44, instance="web", hosts=["d.example"], tls={"certificate": "auto"}),
        route("acme/e", line=45, instance="web", hosts=["e.example"], tls={"certificate": "token"}),
    ]
    found = problems(*shop(ports=[HTTP]), secret(), *bad)
    assert [item for item in found if item[0] != "routes-not-served"] == [
        ("unknown-instance", "route/acme/a", ("instance",)),
        ("unknown-port", "route/acme/b", ("port",)),
        ("unknown-secret", "route/acme/c", ("tls", "certificate")),
        ("wrong-secret-type", "route/acme/e", ("tls", "certificate")),
    ]


def test_a_host_and_path_lead_to_one_place_and_the_later_route_is_wrong() -> None:
    _, found = build(
        *shop("acme", ports=[HTTP]),
        *shop("zeta", ports=[HTTP]),
        route("zeta/web", at="tenants/zeta.yaml", hosts=["other.example", "shop.example"]),
        route("acme/web"),
    )
    wrong = next(item for item in found if item.is_error)
    assert (wrong.code, wrong.tenant, wrong.field) == (
        "route-conflict",
        "zeta",
        ("spec", "hosts", 1),
    )
    assert "route/acme/web at tenants/acme.yaml:40:1" in wrong.summary


def test_the_same_host_may_serve_two_paths_but_a_slash_makes_no_difference() -> None:
    first = route(path="/api")
    second = route("acme/b", line=41, instance="web", path="/")
    third = route("acme/c", line=42, instance="web", path="/api")
    assert not problems(*shop(ports=[HTTP]), first, second, plane(router=ROUTER))
    found = problems(*shop(ports=[HTTP]), first, third, plane(router=ROUTER))
    assert ("route-conflict", "route/acme/c", ("hosts", 0)) in found


def test_a_preview_host_is_a_host_like_any_other() -> None:
    first = route(previewHosts=["next.example"])
    second = route("acme/b", line=41, instance="web", hosts=["next.example"])
    found = problems(*shop(ports=[HTTP]), first, second, plane(router=ROUTER))
    assert found == [("route-conflict", "route/acme/b", ("hosts", 0))]
    # Another entry point is another place.
    other = route("acme/b", line=41, instance="web", hosts=["next.example"], entryPoint="websecure")
    assert not problems(*shop(ports=[HTTP]), first, other, plane(router=ROUTER))


def test_a_route_needs_an_entry_point_the_router_has() -> None:
    found = problems(*shop(ports=[HTTP]), route(entryPoint="wbe"), plane(router=ROUTER))
    assert found == [("unknown-entry-point", "route/acme/web", ("entryPoint",))]
    certificate = secret("acme/site", type="tls", key=None)
    served = route(tls={"certificate": "site"})
    assert not problems(*shop(ports=[HTTP]), certificate, served, plane(router=ROUTER))
    plain = ROUTER | {"entryPoints": {"websecure": ":443"}}
    found = problems(*shop(ports=[HTTP]), certificate, served, plane(router=plain))
    assert found == [("entry-point-without-tls", "route/acme/web", ("tls",))]
    auto = route(tls={"certificate": "auto"})
    assert not problems(*shop(ports=[HTTP]), auto, plane(router=ROUTER))


def test_what_the_router_cannot_do_is_an_error_of_the_route_that_asks_for_it() -> None:
    router = {"type": "gateway", "gateway": "infra/public"}
    assert not problems(*shop(ports=[HTTP]), route(), plane(router=router))
    found = problems(*shop(ports=[HTTP]), route(sticky=True), plane(router=router))
    assert found == [("router-lacks", "route/acme/web", ("sticky",))]
    router["entryPoints"] = {"web": "http", "websecure": {"listener": "https", "tls": True}}
    auto = route(tls={"certificate": "auto"})
    found = problems(*shop(ports=[HTTP]), auto, plane(router=router))
    assert found == [("router-lacks", "route/acme/web", ("tls",))]
    plain = route(entryPoint="websecure")
    assert not problems(*shop(ports=[HTTP]), plain, plane(router=router))


def test_a_gateway_has_certificates_of_routes_at_listeners_of_ours_alone() -> None:
    points = {"web": "http", "websecure": {"port": 443, "tls": True}}
    router = {"type": "gateway", "gateway": "infra/public", "entryPoints": points}
    auto = route(tls={"certificate": "auto"})
    assert not problems(*shop(ports=[HTTP]), auto, plane(router=router))
    found = only(*shop(ports=[HTTP]), route(entryPoint="websecure"), plane(router=router))
    assert (found.code, found.field) == ("router-lacks", ("spec", "entryPoint"))
    del points["websecure"]
    found = only(*shop(ports=[HTTP]), auto, plane(router=router))
    assert found.code == "unknown-entry-point" and "{port: 443, tls: true}" in str(found.hint)


def test_a_router_of_an_unknown_type_is_an_error_of_the_control_plane() -> None:
    found = only(*shop(ports=[HTTP]), plane(router={"type": "traefic"}))
    assert (found.code, found.hint) == ("unknown-router-type", "did you mean 'traefik'?")


@pytest.mark.parametrize("kind", ["blueGreen", "canary"])
def test_a_strategy_that_has_no_traffic_to_move_says_so(kind: str) -> None:
    documents = (tenant(), instance(ports=[HTTP]), deployment(strategy=STRATEGY | {"type": kind}))
    found = only(*documents)
    assert (found.code, found.field) == ("no-traffic", ("spec", "strategy", "type"))
    assert not found.is_error
    assert "there is no router" in found.summary
    assert only(*documents, plane(router=ROUTER)).hint == "add a Route"
    assert not problems(*documents, route(), plane(router=ROUTER))


def test_domains_are_counted_once_over_all_routes() -> None:
    other = route("acme/api", line=41, instance="web", hosts=["A.example"], path="/api")
    routes = [route(hosts=["a.example", "b.example"]), other]
    documents = shop(ports=[HTTP])[1:]
    found = problems(tenant(quota={"domains": 2}), *documents, *routes)
    assert [item[0] for item in found] == ["routes-not-served"]
    found = problems(tenant(quota={"domains": 1}), *documents, *routes)
    assert ("over-quota", "tenant/acme", ("quota", "domains")) in found
