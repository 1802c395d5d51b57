"""HAProxy keeps the suite's claims: the real program, started, reloaded and adopted by us."""

import json
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from ctrlplane_gitops.errors import ProviderError, UsageError
from ctrlplane_gitops.network.conformance import CERTIFICATE, A, B, C, RouterConformance
from ctrlplane_gitops.network.conformance_kit import (
    HOST,
    PATIENCE,
    Client,
    Reply,
    RouterKit,
    Upstream,
    backend,
    load,
    make_certificate,
    route_key,
    wait_until,
)
from ctrlplane_gitops.network.conformance_traffic import TrafficConformance
from ctrlplane_gitops.network.haproxy.router import HaproxyRouter
from ctrlplane_gitops.network.router import Router, RouterSettings
from ctrlplane_gitops.process_id import find_process
from ctrlplane_gitops.state.traffic import HeaderRule, Member, RouteEntry, RouteTable
from tests.engines.program import free_port

pytestmark = pytest.mark.haproxy


class TestHaproxyConformance(TrafficConformance):
    binary: str

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def program(cls, haproxy: str) -> None:
        cls.binary = haproxy
        cls.web_port, cls.secure_port = free_port(), free_port()

    def make_router(self, plane: str, root: Path, on_effect: Callable[[str], None]) -> Router:
        options = {
            "binary": self.binary,
            "entryPoints": {
                "web": f"127.0.0.1:{self.web_port}",
                "websecure": {"address": f"127.0.0.1:{self.secure_port}", "tls": True},
            },
        }
        return HaproxyRouter(RouterSettings(plane, "haproxy", str(root), options, on_effect))

    def written_dir(self, root: Path) -> Path:
        return root / "router/haproxy"

    def kill_router(self, router: Router, root: Path) -> None:
        pid = read_pid(root)
        os.killpg(pid, signal.SIGKILL)
        wait_until(lambda: find_process(pid) is None, "the router to die")


def read_pid(root: Path) -> int:
    pid: int = json.loads((root / "router/haproxy/process.json").read_text())["pid"]
    return pid


KIT = RouterKit()
ENTRY = KIT.entry(backend(1, 90, A, B), backend(2, 10, C))
OTHER = replace(ENTRY, key=route_key("api"), hosts=("api.example",))


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def make(haproxy: str, port: int, tmp_path: Path) -> Iterator[Callable[..., HaproxyRouter]]:
    """Makes routers of one plane on one port; the program is ended with the test."""

    def build(on_effect: Callable[[str], None] = lambda effect: None, **more: object):
        options = {"binary": haproxy, "entryPoints": {"web": f"127.0.0.1:{port}"}, **more}
        return HaproxyRouter(RouterSettings("p", "haproxy", str(tmp_path), options, on_effect))

    yield build
    build().stop()


def put(router: HaproxyRouter, *entries: RouteEntry) -> str:
    generation = router.apply(RouteTable(entries), {})
    report = router.wait_live(generation, PATIENCE)
    assert report.is_live, report.message
    return generation


def effects_of(make: Callable[..., HaproxyRouter], *entries: RouteEntry) -> set[str]:
    """What kinds of effects it took to get there."""
    seen: list[str] = []
    put(make(seen.append), *entries)
    return {effect.partition(":")[0] for effect in seen}


def test_weights_members_and_hosts_change_in_place_and_rules_by_a_reload(
    make: Callable[..., HaproxyRouter],
) -> None:
    make().ensure_running()
    assert "reload" in effects_of(make, OTHER, ENTRY)
    in_place = [
        replace(ENTRY, backends=(backend(1, 10, A, B), backend(2, 90, C))),
        replace(ENTRY, backends=(backend(1, 10, A), backend(2, 90, C))),
        replace(ENTRY, backends=(backend(2, 90, C), backend(3, 10, B))),
        replace(ENTRY, backends=(backend(3, 50, B), backend(4, 50, A, C))),
        replace(
            ENTRY,
            backends=(backend(4, 100, A, C),),
            hosts=("moved.example", "shop.example"),
            path="/x",
        ),
    ]
    for entry in in_place:
        assert "reload" not in effects_of(make, OTHER, entry)
    assert "reload" not in effects_of(make, ENTRY)  # a route that goes costs none
    assert "reload" not in effects_of(make, OTHER, ENTRY)
    assert "reload" in effects_of(make, replace(ENTRY, header=HeaderRule("X-A", "b", 2)))


def test_more_members_than_there_is_room_for_make_room(
    make: Callable[..., HaproxyRouter],
) -> None:
    router = make()
    router.ensure_running()
    crowd = tuple(Member(f"r{number:02}", "127.0.0.1", 100 + number) for number in range(30))
    put(router, ENTRY)
    put(router, replace(ENTRY, backends=(backend(1, 100, *crowd),)))
    assert router.observe().table.entries[0].backends[0].members == crowd
    many = tuple(backend(number, 10 if number <= 10 else 0, A) for number in range(1, 13))
    put(router, replace(ENTRY, backends=many))
    assert router.observe().table.entries[0].backends == many


def test_an_apply_that_was_killed_anywhere_is_completed_by_the_next(
    make: Callable[..., HaproxyRouter],
) -> None:
    """Both ways of changing: in place, and by a reload."""
    router = make()
    router.ensure_running()
    before = RouteTable((OTHER, ENTRY))
    in_place = replace(ENTRY, backends=(backend(2, 50, C), backend(3, 50, A, B)))
    by_reload = replace(in_place, header=HeaderRule("X-A", "b", 2))
    for after in (RouteTable((in_place,)), RouteTable((by_reload,))):
        boundary = 0
        while True:
            boundary += 1
            put(router, *before.entries)
            calls = iter(range(1, boundary))

            def killed(effect: str, calls: Iterator[int] = calls) -> None:
                if next(calls, None) is None:
                    raise KeyboardInterrupt(effect)

            try:
                make(killed).apply(after, {})
                break
            except KeyboardInterrupt:
                pass
            if boundary == 1:
                assert router.observe().table == before
            put(router, *after.entries)
            assert router.observe().table == after
        assert boundary > 8


def test_a_killed_router_comes_back_after_an_apply_that_was_killed(
    make: Callable[..., HaproxyRouter], tmp_path: Path
) -> None:
    def killed(effect: str) -> None:
        if effect.startswith("map"):
            raise KeyboardInterrupt

    router = make()
    router.ensure_running()
    put(router, ENTRY)
    after = replace(ENTRY, backends=(backend(2, 50, C), backend(3, 50, A, B)))
    with pytest.raises(KeyboardInterrupt):
        make(killed).apply(RouteTable((after,)), {})
    assert not router.observe().is_live
    pid = read_pid(tmp_path)
    os.killpg(pid, signal.SIGKILL)
    wait_until(lambda: find_process(pid) is None, "the router to die")
    assert router.ensure_running()
    assert router.observe().table.entries == (after,)
    put(router, after)


def test_a_reload_under_load_loses_no_request(
    make: Callable[..., HaproxyRouter], port: int
) -> None:
    router, upstream = make(), Upstream("r")
    router.ensure_running()
    entry = KIT.entry(backend(1, 100, upstream))
    put(router, entry)
    with load(port) as met:
        for number in range(10):
            rule = HeaderRule("X-Canary", f"n{number}", 1)
            assert "reload" in effects_of(make, replace(entry, header=rule))
    upstream.down()
    assert met.failures == [] and met.replicas["r"] > 100


def test_a_connection_of_the_process_before_a_reload_follows_the_table(
    make: Callable[..., HaproxyRouter], port: int
) -> None:
    """A client that was idle during the whole rollout: nothing of the old release is left."""
    router, old, new = make(), Upstream("old"), Upstream("new")
    router.ensure_running()
    put(router, OTHER, KIT.entry(backend(1, 100, old)))
    put(router, OTHER, KIT.entry(backend(1, 100, old), backend(2, 0, A)))
    with socket.create_connection(("127.0.0.1", port)) as idle:
        assert b"200 OK" in ask(idle)
        shares = backend(1, 100, old), backend(2, 0, new)
        rule = HeaderRule("X-Canary", "yes", 2)
        assert "reload" in effects_of(make, OTHER, KIT.entry(*shares, header=rule))
        put(router, KIT.entry(backend(1, 0, old), backend(2, 100, new), header=rule))
        put(router, KIT.entry(backend(2, 100, new), header=rule))
        old.down()
        assert ask(idle).endswith(b"new /")
    new.down()


def ask(connection: socket.socket) -> bytes:
    connection.sendall(b"GET / HTTP/1.1\r\nHost: " + HOST.encode() + b"\r\n\r\n")
    answer = b""
    while b" /" not in answer.partition(b"\r\n\r\n")[2]:
        received = connection.recv(4096)
        assert received, f"closed after {answer!r}"
        answer += received
    return answer


def test_requests_of_the_process_before_a_reload_are_in_flight_still(
    make: Callable[..., HaproxyRouter], port: int
) -> None:
    router, old, new = make(), Upstream("old"), Upstream("new")
    router.ensure_running()
    put(router, KIT.entry(backend(1, 100, old)))
    replies: list[Reply] = []
    slow = threading.Thread(target=lambda: replies.append(Client(port).get("/slow")))
    slow.start()
    wait_until(lambda: router.count_in_flight([old.member]) == 1, "the request to arrive")
    rule = HeaderRule("X-Canary", "yes", 2)
    assert "reload" in effects_of(make, KIT.entry(backend(2, 100, new), header=rule))
    assert router.count_in_flight([old.member]) == 1
    assert router.count_in_flight([new.member]) == 0
    slow.join()
    assert [(reply.status, reply.replica) for reply in replies] == [(200, "old")]
    wait_until(lambda: router.count_in_flight([old.member]) == 0, "the drain")
    old.down()
    new.down()


def test_a_place_with_requests_in_flight_is_given_to_nobody_else(
    make: Callable[..., HaproxyRouter], port: int
) -> None:
    """Else the requests could not be found under the member's address any more."""
    router, old = make(), Upstream("old")
    router.ensure_running()
    put(router, KIT.entry(backend(1, 100, old)))
    slow = threading.Thread(target=lambda: Client(port).get("/slow"))
    slow.start()
    wait_until(lambda: router.count_in_flight([old.member]) == 1, "the request to arrive")
    for members in ((A,), (B,), (A, B, C)):
        put(router, KIT.entry(backend(1, 100, *members)))
        assert router.count_in_flight([old.member]) == 1
    slow.join()
    old.down()


def test_one_that_does_not_start_says_why(make: Callable[..., HaproxyRouter]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        point = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(ProviderError, match="Address already in use"):
            make(entryPoints={"web": point}).ensure_running()


def test_a_binary_that_is_no_program_is_refused(
    make: Callable[..., HaproxyRouter], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="is not a program"):
        make(binary=str(tmp_path)).ensure_running()
    broken = tmp_path / "haproxy"
    broken.write_bytes(b"\x7fELF")
    broken.chmod(0o755)
    with pytest.raises(ProviderError, match="cannot be started"):
        make(binary=str(broken)).ensure_running()


def test_other_entry_points_are_opened_by_the_next_apply(
    make: Callable[..., HaproxyRouter],
) -> None:
    make().ensure_running()
    generation = put(make(), ENTRY)
    moved = make(entryPoints={"web": f"127.0.0.1:{free_port()}"})
    assert not moved.ensure_running()
    assert moved.apply(RouteTable((ENTRY,)), {}) == generation
    assert moved.wait_live(generation, PATIENCE).is_live
    assert not make().wait_live(generation, timedelta(milliseconds=300)).is_live


def test_a_new_entry_point_where_somebody_listens_costs_no_request(
    make: Callable[..., HaproxyRouter], port: int
) -> None:
    """HAProxy would let nobody connect anywhere while it tries."""
    upstream = Upstream("r")
    make().ensure_running()
    entry = KIT.entry(backend(1, 100, upstream))
    put(make(), entry)
    with load(port) as met, socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        more = make(entryPoints={"web": f"127.0.0.1:{port}", "more": address})
        with pytest.raises(ProviderError, match=f"{address} is in use"):
            more.apply(RouteTable((entry,)), {})
        assert make().observe().is_live
        wait_until(lambda: met.replicas["r"] > 20, "requests")
    put(more, entry)
    upstream.down()
    assert met.failures == []


def test_keys_lie_in_private_files_and_go_with_their_route(
    make: Callable[..., HaproxyRouter], tmp_path: Path
) -> None:
    points = {"web": f"127.0.0.1:{free_port()}"}
    points |= {"websecure": {"address": f"127.0.0.1:{free_port()}", "tls": True}}
    router = make(entryPoints=points)
    router.ensure_running()
    pem = make_certificate(tmp_path, "tls.example")
    table = RouteTable((RouterConformance().rich_entries()[2],))
    assert router.wait_live(router.apply(table, {CERTIFICATE: pem}), PATIENCE).is_live
    home = tmp_path / "router/haproxy"
    assert (home / "certs/acme.cert.pem").stat().st_mode & 0o077 == 0
    assert home.stat().st_mode & 0o077 == 0
    put(router)
    assert list((home / "certs").glob("*.pem")) == []
