"""Routes and canaries that cannot work are refused by plan and apply, with the place, before
anything is touched."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.route_kit import HOST, MEMORY, MEMORY_ROUTER, RouteWorld, app, opened

HEADER = "apiVersion: ctrlplane.dev/v1\n"
ROLLING = "type: rolling"
PLACE = r"specs\.yaml:\d+:\d+"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[RouteWorld]:
    """One instance runs behind two routes."""
    with opened(RouteWorld(tmp_path, MEMORY, routing=MEMORY_ROUTER)) as world:
        world.write(app(world, "one", ROLLING))
        assert world.run("apply", "-y") == 0, world.errors
        yield world


def route(spec: str, tenant: str = "acme") -> str:
    return (
        f"---\n{HEADER}kind: Route\nmetadata: {{tenant: {tenant}, name: more}}\nspec: {{{spec}}}\n"
    )


def other_tenant(spec: str) -> str:
    return (
        f"---\n{HEADER}kind: Tenant\nmetadata: {{name: zen}}\nspec: {{}}\n"
        f"---\n{HEADER}kind: Instance\nmetadata: {{tenant: zen, name: web}}\n"
        f"spec: {{ports: [{{name: http, port: 80}}]}}\n{route(spec, 'zen')}"
    )


ENV_SECRET = (
    f"---\n{HEADER}kind: Secret\nmetadata: {{tenant: acme, name: token}}\n"
    "spec: {type: env, key: TOKEN, from: {env: TOKEN}}\n"
)
MORE = {
    "a port the instance has not": (
        route("instance: web, hosts: [x.test], port: admin"),
        rf"{PLACE}.*(?s:.*)port",
    ),
    "an instance that is not there": (route("instance: wbe, hosts: [x.test]"), "wbe"),
    "a host of another tenant": (
        other_tenant(f"instance: web, hosts: [{HOST}]"),
        rf"{re.escape(HOST)}/ is routed by route/acme/shop at {PLACE} and again by"
        rf" route/zen/more at {PLACE}",
    ),
    "a preview host of another tenant": (
        other_tenant("instance: web, hosts: [next.acme.test]"),
        rf"next\.acme\.test/ is routed by route/acme/shop at {PLACE}",
    ),
    "an unknown entry point": (
        route("instance: web, hosts: [x.test], entryPoint: edge"),
        "no entry point 'edge'",
    ),
    "tls where the entry point speaks none": (
        ENV_SECRET.replace("type: env, key: TOKEN, from: {env", "type: tls, from: {env")
        + route("instance: web, hosts: [x.test], entryPoint: web, tls: {certificate: token}"),
        "'web' does not speak TLS",
    ),
    "a secret of another type": (
        ENV_SECRET + route("instance: web, hosts: [x.test], tls: {certificate: token}"),
        "token",
    ),
    "a secret that is not there": (
        route("instance: web, hosts: [x.test], tls: {certificate: missing}"),
        "missing",
    ),
}
STEPS = {
    "weights that decrease": "[{weight: 50}, {weight: 20}]",
    "a weight above 100": "[{weight: 50}, {weight: 120}]",
    "no step": "[]",
}


@pytest.mark.parametrize("name", MORE)
def test_a_route_that_cannot_work_is_refused_with_its_place(world: RouteWorld, name: str) -> None:
    more, pattern = MORE[name]
    assert_refused(world, app(world, "two", ROLLING) + more, pattern)


@pytest.mark.parametrize("name", STEPS)
def test_steps_that_cannot_work_are_refused_with_their_place(world: RouteWorld, name: str) -> None:
    strategy = f"type: canary, canary: {{steps: {STEPS[name]}}}"
    assert_refused(world, app(world, "two", strategy), "steps")


def assert_refused(world: RouteWorld, specs: str, pattern: str) -> None:
    before = world.replicas(), world.routed()
    world.write(specs)
    world.environ["TOKEN"] = "t0ken"
    for verb in (("plan",), ("apply", "-y")):
        code, told = world.run_told(*verb)
        text = world.output + world.errors
        assert (code, told) == (65, []), text
        assert re.search(PLACE, text) and re.search(pattern, text), text
    assert (world.replicas(), world.routed()) == before
