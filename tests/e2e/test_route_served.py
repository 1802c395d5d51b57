"""What routes promise, asked through real routers in front of real processes."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from ctrlplane_gitops.network.conformance_kit import Client, make_certificate
from tests.e2e.route_kit import HOST, WEB, RouteWorld, app, assert_settled, assert_whole

HEADER = "apiVersion: ctrlplane.dev/v1\n"
ROLLING = "type: rolling"
WAITING = "type: blueGreen, blueGreen: {autoPromote: false, scaleDownDelay: 100ms}"
NEXT = "next.acme.test"


def begin(world: RouteWorld, strategy: str = ROLLING, more: str = "") -> str:
    specs = app(world, "one", strategy) + more
    world.write(specs)
    assert world.run("apply", "-y") == 0, world.errors
    return specs


def change(world: RouteWorld, specs: str) -> None:
    world.write(specs)
    assert world.run("apply", "-y") == 0, world.output + world.errors
    assert_settled(world, "changed")


def route(name: str, spec: str) -> str:
    return f"---\n{HEADER}kind: Route\nmetadata: {{tenant: acme, name: {name}}}\nspec: {{{spec}}}\n"


def second(world: RouteWorld, version: str) -> str:
    """Another instance of the tenant, as specs."""
    text = app(world, version, ROLLING, replicas=1)
    text = text[text.index(f"{HEADER}kind: Instance") : text.index(f"{HEADER}kind: Route")]
    text = text.replace("name: web}", "name: two}").replace("instance: web", "instance: two")
    return f"---\n{text.rstrip().removesuffix('---')}"


def test_hosts_and_paths_lead_where_the_routes_say(served: RouteWorld) -> None:
    begin(served, more=route("extra", "instance: web, hosts: [a.test, b.test], path: /in"))
    assert served.ask("/x") == "one /x"
    assert served.ask("/api/x") == "one /x"
    assert served.ask("/api") == "one /"
    assert served.ask("/apis") == "one /apis"
    assert [served.ask("/in/x", host) for host in ("a.test", "b.test")] == ["one /in/x"] * 2
    assert served.ask("/out", "a.test") == "404"
    assert served.ask("/", "nobody.test") == "404"
    assert served.ask("/", NEXT) == "one /"


def test_a_sticky_client_stays_with_its_replica(served: RouteWorld) -> None:
    begin(served, more=route("kept", "instance: web, hosts: [kept.test], sticky: true"))
    client = Client(served.port, "kept.test")
    cookie = client.get("/").cookie
    assert cookie
    assert {client.get("/", {"Cookie": cookie}).body for _ in range(10)} == {"one /"}
    client.close()


def test_the_preview_answers_before_the_switch_and_promote_switches(served: RouteWorld) -> None:
    begin(served, WAITING)
    served.write(app(served, "two", WAITING))
    with served.load() as met:
        assert served.run("apply", "-y") == 10, served.output + served.errors
        for _ in range(10):
            assert served.ask() == "one /"
            assert served.ask(host=NEXT) == "two /"
            assert served.ask(X_Canary="yes") == "two /"
            assert served.ask(X_Canary="no") == "one /"
        assert served.run("promote", WEB) == 0, served.output + served.errors
        assert {served.ask(), served.ask(host=NEXT), served.ask(X_Canary="yes")} == {"two /"}
    assert met["failures"] == []
    assert_whole(served, "promoted", "two")
    assert_settled(served, "promoted")


def test_a_rotated_certificate_is_shown_without_a_restart(
    served: RouteWorld, tmp_path: Path
) -> None:
    place = tmp_path / "secrets"
    (place / "acme").mkdir(parents=True)
    served.environ["CTRLPLANE_SECRETS_DIR"] = str(place)
    secret = (
        f"---\n{HEADER}kind: Secret\nmetadata: {{tenant: acme, name: site}}\n"
        "spec: {type: tls, from: {file: acme/site.pem}}\n"
    )
    more = secret + route("tls", "instance: web, hosts: [tls.test], tls: {certificate: site}")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    pids: list[int] = []
    for _ in range(2):
        pem = make_certificate(tmp_path, "tls.test").reveal()
        (place / "acme" / "site.pem").write_bytes(pem)
        begin(served, more=more)
        client = Client(served.secure_port, "tls.test", context)
        shown = ssl.PEM_cert_to_DER_cert(client.peer_certificate())
        client.close()
        assert shown == ssl.PEM_cert_to_DER_cert(pem.decode().partition("-----BEGIN PRIV")[0])
        client = Client(served.secure_port, "tls.test", context)
        assert client.get("/").body == "one /"
        client.close()
        assert_settled(served, "with a certificate")
        assert not pids or pids == served.servers()
        pids = served.servers()


def test_a_router_goes_with_its_last_route(served: RouteWorld) -> None:
    specs = begin(served)
    change(served, specs.replace(", path: /api", ", path: /v2"))
    assert (served.ask("/v2/x"), served.ask("/api/x")) == ("one /x", "one /api/x")
    without = specs[: specs.rindex("---")]
    change(served, without)
    assert served.ask("/api/x") == "one /api/x" and not served.routed().is_stopped
    change(served, without[: without.rindex("---")])
    assert served.routed().is_stopped
    change(served, specs)
    assert served.ask("/api/x") == "one /x"
    assert served.run("destroy", "-y") == 0
    assert served.routed().is_stopped and served.servers() == []


def test_a_suspended_tenant_is_answered_by_nobody_until_it_is_not(served: RouteWorld) -> None:
    specs = begin(served)
    change(served, specs.replace("{name: acme}\nspec: {}", "{name: acme}\nspec: {suspended: true}"))
    assert served.ask() == "503"
    change(served, specs)
    assert served.ask() == "one /"
    assert_whole(served, "resumed", "one")


def test_without_the_store_everything_is_served_on_and_nothing_is_written(
    served: RouteWorld,
) -> None:
    begin(served)
    before, pids = served.routed(), served.servers()
    with served.load() as met:
        for path in served.state_dir.glob("state.db*"):
            path.unlink()
        code, told = served.run_told("apply", "-y")
        assert (code, told) == (0, []), served.output + served.errors
    assert met["failures"] == []
    assert (served.routed(), served.servers()) == (before, pids)
    assert_settled(served, "adopted")


MOVES: dict[str, Callable[[str], str]] = {
    "renamed": lambda specs: specs.replace("name: shop}", "name: store}"),
    "renamed to come before": lambda specs: specs.replace("name: shop}", "name: abc}"),
    "given to another instance": lambda specs: specs.replace(
        f"instance: web, hosts: [{HOST}], previewHosts",
        f"instance: two, hosts: [{HOST}], previewHosts",
    ),
}


@pytest.mark.parametrize("move", MOVES)
def test_a_host_that_moves_to_another_route_or_instance_loses_no_request(
    served: RouteWorld, move: str
) -> None:
    specs = begin(served)
    specs += second(served, "other")
    change(served, specs)
    with served.load() as met:
        change(served, MOVES[move](specs))
    assert served.ask() == ("other /" if "instance" in move else "one /")
    assert met["failures"] == []


@pytest.mark.parametrize("number", range(1, 40, 6))
def test_a_destroy_that_was_killed_stops_the_router_at_last(
    served: RouteWorld, number: int
) -> None:
    begin(served)
    served.run_killed(number, "destroy", "-y")
    assert served.run("destroy", "-y") == 0, served.errors
    assert served.routed().is_stopped and served.servers() == []
