"""HAProxy as an instance the user runs: told its routes, and otherwise left alone."""

import socket
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ctrlplane_gitops.errors import ProviderError, UnreachableError
from ctrlplane_gitops.network.conformance import A, B, C
from ctrlplane_gitops.network.conformance_kit import (
    PATIENCE,
    Client,
    Reply,
    RouterKit,
    Upstream,
    backend,
    load,
    route_key,
    wait_until,
)
from ctrlplane_gitops.network.conformance_traffic import TrafficConformance
from ctrlplane_gitops.network.haproxy.router import HaproxyRouter
from ctrlplane_gitops.network.router import Router, RouterSettings
from ctrlplane_gitops.state.traffic import HeaderRule, RouteEntry, RouteTable
from tests.engines.own_haproxy import OwnHaproxy
from tests.engines.program import free_port

pytestmark = pytest.mark.haproxy


class TestOwnHaproxyConformance(TrafficConformance):
    own: OwnHaproxy

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def program(cls, haproxy: str) -> Iterator[None]:
        cls.web_port, cls.secure_port = free_port(), free_port()
        cls.own = OwnHaproxy(haproxy, free_port())
        yield
        cls.own.close()

    def make_router(self, plane: str, root: Path, on_effect: Callable[[str], None]) -> Router:
        points = {
            "web": f"127.0.0.1:{self.web_port}",
            "websecure": {"address": f"127.0.0.1:{self.secure_port}", "tls": True},
        }
        options = self.own.options(points)
        return HaproxyRouter(RouterSettings(plane, "haproxy", str(root), options, on_effect))

    def written_dir(self, root: Path) -> Path:
        return self.own.directory

    def start_router(self, router: Router, root: Path) -> bool:
        is_started = self.own.start()
        assert not router.ensure_running()
        return is_started

    def stop_router(self, router: Router, root: Path) -> None:
        router.stop()
        assert self.own.ask(self.own.socket, "show info")  # it is not ours to end
        self.own.stop()

    def kill_router(self, router: Router, root: Path) -> None:
        self.own.kill()


KIT = RouterKit()
ENTRY = KIT.entry(backend(1, 90, A, B), backend(2, 10, C))
Make = Callable[..., HaproxyRouter]


@pytest.fixture
def own(haproxy: str) -> Iterator[OwnHaproxy]:
    """One that the user has started."""
    program = OwnHaproxy(haproxy, free_port())
    program.start()
    yield program
    program.close()


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def make(own: OwnHaproxy, port: int, tmp_path: Path) -> Make:
    """Makes routers of a plane in it."""

    def build(
        on_effect: Callable[[str], None] = lambda effect: None, plane: str = "p", **more: Any
    ) -> HaproxyRouter:
        options = own.options({"web": f"127.0.0.1:{port}"}, **more)
        home = str(tmp_path / plane)
        return HaproxyRouter(RouterSettings(plane, "haproxy", home, options, on_effect))

    return build


def put(router: HaproxyRouter, *entries: RouteEntry) -> str:
    assert not router.ensure_running()
    generation = router.apply(RouteTable(entries), {})
    report = router.wait_live(generation, PATIENCE)
    assert report.is_live, report.message
    return generation


def get(port: int) -> Reply:
    client = Client(port)
    try:
        return client.get()
    finally:
        client.close()


def with_rule(entry: RouteEntry, value: str) -> RouteEntry:
    """What only a reload can bring about."""
    return replace(entry, header=HeaderRule("X-A", value, 1))


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(it): it.read_bytes() for it in folder.rglob("*") if it.is_file()}


def test_what_is_the_users_stays_as_it_was(own: OwnHaproxy, make: Make, tmp_path: Path) -> None:
    """Their file, their frontend, their servers, and every file beside our directory."""
    theirs = own.ask(own.socket, "show servers state theirs")
    before = {path: text for path, text in snapshot(own.root).items() if not path.endswith("log")}
    (own.directory / "notes.txt").write_text("theirs")
    upstream = Upstream("r")
    entry = KIT.entry(backend(1, 100, upstream))
    put(make(), entry)
    put(make(), replace(entry, backends=(backend(2, 100, A),)))
    put(make(), with_rule(entry, "b"))
    upstream.down()
    put(make())
    make().stop()
    assert get(own.port).status == 200
    state = own.ask(own.socket, "show servers state theirs")
    # Name and address, whether it is in maintenance, its weight.
    columns = (3, 4, 6, 7)
    assert [[line.split()[it] for it in columns] for line in state.split("\n")[2:4]] == [
        [line.split()[it] for it in columns] for line in theirs.split("\n")[2:4]
    ]
    after = snapshot(own.root)
    assert {path: after[path] for path in before} == before
    ours = {Path(path).relative_to(own.root).as_posix() for path in after.keys() - before.keys()}
    names = {"p.cfg", "p.routes.map", "p.state.map", "notes.txt"}
    assert ours == {"log", *(f"ctrlplane/{name}" for name in names)}
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} <= {"lock"}
    assert stat.S_IMODE((own.directory / "p.cfg").stat().st_mode) == 0o640


def test_two_control_planes_share_one(own: OwnHaproxy, make: Make) -> None:
    other = {"entryPoints": {"web": f"127.0.0.1:{free_port()}"}}
    one, two = make(), make(plane="p2", **other)
    generation = put(one, ENTRY)
    put(two, replace(ENTRY, hosts=("two.example",)))
    assert one.wait_live(generation, PATIENCE).is_live
    put(two, replace(ENTRY, hosts=("two.example",), backends=(backend(1, 100, A),)))
    assert (one.observe().table.entries, one.observe().is_live) == ((ENTRY,), True)
    put(two)
    assert (one.observe().table.entries, one.observe().is_live) == ((ENTRY,), True)


@pytest.mark.parametrize("name", ["socket", "masterSocket"])
def test_a_socket_that_does_not_answer_is_said_with_what_to_check(
    own: OwnHaproxy, make: Make, name: str
) -> None:
    path = own.root / "other.sock"
    router = make(**{name: str(path)})
    with pytest.raises(UnreachableError, match="check that it runs with") as caught:
        router.ensure_running()
    assert str(path) in caught.value.message and caught.value.is_retryable
    own.stop()
    state = make().observe()
    assert state.gap is not None and str(own.socket) in state.gap and "level admin" in state.gap
    assert not state.is_stopped  # it is not ours to start
    with pytest.raises(UnreachableError):
        make().apply(RouteTable((ENTRY,)), {})
    assert [path.name for path in own.directory.iterdir()] == []


def test_a_socket_that_may_only_look_is_refused(haproxy: str, tmp_path: Path) -> None:
    program = OwnHaproxy(haproxy, free_port(), level="operator")
    program.start()
    options = program.options({"web": f"127.0.0.1:{free_port()}"})
    router = HaproxyRouter(RouterSettings("p", "haproxy", str(tmp_path), options))
    with pytest.raises(ProviderError, match="operator") as caught:
        router.ensure_running()
    program.close()
    assert "level admin" in (caught.value.hint or "")


def test_the_master_of_another_one_is_refused(own: OwnHaproxy, make: Make, haproxy: str) -> None:
    other = OwnHaproxy(haproxy, free_port())
    other.start()
    with pytest.raises(ProviderError, match="another HAProxy"):
        make(masterSocket=str(other.master)).ensure_running()
    with pytest.raises(UnreachableError, match="not the socket of a master"):
        make(masterSocket=str(other.socket)).ensure_running()
    other.close()


def test_a_directory_that_is_not_there_is_not_made(own: OwnHaproxy, make: Make) -> None:
    own.directory.rmdir()
    with pytest.raises(ProviderError, match="may write into") as caught:
        make().ensure_running()
    assert caught.value.is_retryable and not own.directory.exists()


def test_one_that_was_started_without_our_directory_is_told_how(
    own: OwnHaproxy, make: Make
) -> None:
    own.stop()
    own.start(str(own.config.with_name("empty")))
    router = make()
    router.ensure_running()
    with pytest.raises(ProviderError, match="reloaded without") as caught:
        router.apply(RouteTable((ENTRY,)), {})
    assert f"-f {own.directory}" in (caught.value.hint or "")
    assert list(own.directory.iterdir()) == []
    state = router.observe()
    assert (state.table, state.is_live) == (RouteTable(), False)


def test_what_their_own_file_would_not_bear_is_refused_before_a_reload(
    own: OwnHaproxy, make: Make
) -> None:
    text = own.config.read_text()
    broken = f"{text}frontend broken\n  bind nowhere\n"
    own.config.write_text(broken)
    with pytest.raises(ProviderError, match="missing port specification"):
        make().apply(RouteTable((ENTRY,)), {})
    assert snapshot(own.directory) == {}
    own.config.write_text(text)
    put(make(), ENTRY)
    before = snapshot(own.directory), own._reloads()
    own.config.write_text(broken)
    with pytest.raises(ProviderError, match=r"refused its configuration.*nowhere"):
        make().apply(RouteTable((with_rule(ENTRY, "b"),)), {})
    assert (snapshot(own.directory), own._reloads()) == before
    # What needs no reload goes on meanwhile.
    put(make(), replace(ENTRY, backends=(backend(1, 100, A),)))
    own.config.write_text(text)
    put(make(), with_rule(ENTRY, "b"))


@pytest.mark.parametrize("whose", ["theirs", "strangers"])
def test_an_entry_point_where_somebody_listens_is_refused_before_a_request_is_lost(
    own: OwnHaproxy, make: Make, port: int, whose: str
) -> None:
    """HAProxy would let nobody connect while it tries; and two frontends of its own at one address
    would share the connections."""
    upstream = Upstream("r")
    entry = KIT.entry(backend(1, 100, upstream))
    put(make(), entry)
    before = snapshot(own.directory), own._reloads()
    with load(port) as met, socket.create_server(("127.0.0.1", 0)) as taken:
        number = own.port if whose == "theirs" else taken.getsockname()[1]
        points = {"web": f"127.0.0.1:{port}", "more": f"127.0.0.1:{number}"}
        with pytest.raises(ProviderError, match=f"{number} is in use") as caught:
            make(entryPoints=points).apply(RouteTable((entry,)), {})
        assert caught.value.is_retryable
        assert (snapshot(own.directory), own._reloads()) == before
        put(make(), replace(entry, backends=(backend(1, 50, upstream), backend(2, 50, upstream))))
        wait_until(lambda: met.replicas["r"] > 20, "requests")
    upstream.down()
    assert met.failures == []


def test_a_reload_that_fails_leaves_the_files_as_they_were(own: OwnHaproxy, make: Make) -> None:
    """Here for an address that this machine does not have, which the check does not find. Their
    next restart must not fail for it."""
    put(make(), ENTRY)
    before = snapshot(own.directory)
    points = {**make()._settings.options["entryPoints"], "more": "192.0.2.1:8080"}
    with pytest.raises(ProviderError, match="was not reloaded"):
        make(entryPoints=points).apply(RouteTable((ENTRY,)), {})
    assert snapshot(own.directory) == before
    assert make().observe().is_live
    # It can be told what needs no reload, by the process that goes on, and what does as well.
    put(make(), replace(ENTRY, backends=(backend(1, 100, A),)))
    put(make(), with_rule(ENTRY, "b"))
    own.stop()
    own.start()
    assert make().observe().table.entries == (with_rule(ENTRY, "b"),)


def test_a_command_of_theirs_reloads_it(own: OwnHaproxy, make: Make) -> None:
    script = own.root / "reload"
    script.write_text(f'#!/bin/sh\n[ -z "$TOKEN" ] && exec kill -USR2 {own.pid}\n')
    script.chmod(0o755)
    put(make(reload=[str(script)]), ENTRY)
    script.write_text("#!/bin/sh\necho it is Sunday; exit 3\n")
    before = snapshot(own.directory)
    with pytest.raises(ProviderError, match="ended with 3: it is Sunday"):
        make(reload=[str(script)]).apply(RouteTable((with_rule(ENTRY, "b"),)), {})
    with pytest.raises(ProviderError, match="cannot be started"):
        make(reload=["/nowhere"]).apply(RouteTable((with_rule(ENTRY, "b"),)), {})
    assert snapshot(own.directory) == before


def test_reloads_of_theirs_and_of_ours_under_load_lose_no_request(
    own: OwnHaproxy, make: Make, port: int
) -> None:
    """Their socket does not even hand its listeners on: their master does."""
    one, two = Upstream("one"), Upstream("two")
    put(make(), KIT.entry(backend(1, 100, one)))
    with load(port) as met:
        for number in range(5):
            own.reload()
            now = (two, one)[number % 2]
            put(make(), KIT.entry(backend(1, 100, now), backend(2, 0, A)))
            put(make(), with_rule(KIT.entry(backend(1, 100, now)), f"n{number}"))
    assert met.failures == [] and set(met.replicas) == {"one", "two"}
    one.down()
    two.down()


def test_a_reload_of_theirs_that_failed_leads_no_request_in_a_circle(
    own: OwnHaproxy, make: Make, port: int
) -> None:
    """The process that goes on must not be taken for one that is about to end."""
    upstream = Upstream("r")
    put(make(), KIT.entry(backend(1, 100, A)))
    text = own.config.read_text()
    own.config.write_text(f"{text}nonsense\n")
    own.reload()
    assert "[failed: 1]" in own.ask(own.master, "show proc")
    put(make(config=None), KIT.entry(backend(1, 100, upstream)))
    assert get(port).replica == "r"
    own.config.write_text(text)
    put(make(), with_rule(KIT.entry(backend(1, 100, upstream)), "b"))
    upstream.down()


def test_an_apply_that_was_killed_anywhere_is_completed_by_the_next(
    make: Make,
) -> None:
    """Both ways of changing, and a reload of theirs at any point is harmless."""
    router = make()
    other = replace(ENTRY, key=route_key("api"), hosts=("api.example",))
    in_place = replace(ENTRY, backends=(backend(2, 50, C), backend(3, 50, A, B)))
    for after in (in_place, replace(in_place, header=HeaderRule("X-A", "b", 2))):
        boundary = 0
        while True:
            boundary += 1
            put(router, other, ENTRY)
            calls = iter(range(1, boundary))

            def killed(effect: str, calls: Iterator[int] = calls) -> None:
                if next(calls, None) is None:
                    raise KeyboardInterrupt(effect)

            try:
                make(killed).apply(RouteTable((after,)), {})
                break
            except KeyboardInterrupt:
                pass
            put(router, after)
            assert router.observe().table == RouteTable((after,))
        assert boundary > 8
