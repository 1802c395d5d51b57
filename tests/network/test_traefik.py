"""Traefik keeps the suite's claims: the real program, started and adopted by us."""

import json
import os
import signal
import socket
import stat
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from ctrlplane_gitops.errors import CapabilityError, ProviderError, UnreachableError
from ctrlplane_gitops.network.conformance import CERTIFICATE, A, B, C, RouterConformance
from ctrlplane_gitops.network.conformance_kit import (
    PATIENCE,
    RouterKit,
    Upstream,
    backend,
    make_certificate,
    route_key,
    wait_until,
)
from ctrlplane_gitops.network.conformance_traffic import TrafficConformance
from ctrlplane_gitops.network.router import Router, RouterSettings
from ctrlplane_gitops.network.table import fingerprint
from ctrlplane_gitops.network.traefik.router import TraefikRouter
from ctrlplane_gitops.process_id import find_process
from ctrlplane_gitops.state.traffic import RouteTable
from tests.engines.program import free_port

KIT = RouterKit()
pytestmark = pytest.mark.traefik


class TestTraefikConformance(TrafficConformance):
    binary: str

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def program(cls, traefik: str) -> None:
        cls.binary = traefik
        cls.web_port, cls.secure_port = free_port(), free_port()

    def make_router(self, plane: str, root: Path, on_effect: Callable[[str], None]) -> Router:
        options = {
            "binary": self.binary,
            "entryPoints": {
                "web": f"127.0.0.1:{self.web_port}",
                "websecure": {"address": f"127.0.0.1:{self.secure_port}", "tls": True},
            },
        }
        return TraefikRouter(RouterSettings(plane, "traefik", str(root), options, on_effect))

    def written_dir(self, root: Path) -> Path:
        return root / "router/traefik/dynamic"

    def kill_router(self, router: Router, root: Path) -> None:
        pid = read_pid(root)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: find_process(pid) is None, "the router to die")


def read_pid(root: Path) -> int:
    pid: int = json.loads((root / "router/traefik/process.json").read_text())["pid"]
    return pid


ENTRY = KIT.entry(backend(1, 90, A, B), backend(2, 10, C))
SECURE = RouterConformance().rich_entries()[2]
OTHER = replace(ENTRY, key=route_key("api"), hosts=("api.example",))


@pytest.fixture
def managed(traefik: str, tmp_path: Path) -> Iterator[Callable[..., TraefikRouter]]:
    """Makes routers of one plane on one port; the program is ended with the test."""
    web, secure = free_port(), free_port()

    def make(on_effect: Callable[[str], None] = lambda effect: None, **options: object):
        points = {"web": f"127.0.0.1:{web}", "sec": {"address": f"127.0.0.1:{secure}", "tls": True}}
        options = {"binary": traefik, "entryPoints": points, **options}
        return TraefikRouter(RouterSettings("p", "traefik", str(tmp_path), options, on_effect))

    yield make
    make().stop()


def dynamic_files(root: Path) -> dict[str, str]:
    directory = root / "router/traefik/dynamic"
    return {path.name: path.read_text() for path in directory.iterdir()}


def test_an_apply_that_was_killed_anywhere_is_completed_by_the_next(
    managed: Callable[..., TraefikRouter], tmp_path: Path
) -> None:
    before, after = RouteTable((OTHER, ENTRY)), RouteTable((replace(ENTRY, path="/x"),))
    router = managed()
    router.ensure_running()
    router.apply(after, {})
    wanted = dynamic_files(tmp_path)
    router.apply(before, {})
    boundary = 0
    while True:
        boundary += 1
        calls = iter(range(1, boundary))

        def killed(effect: str, calls: Iterator[int] = calls) -> None:
            if next(calls, None) is None:
                raise KeyboardInterrupt(effect)

        try:
            managed(killed).apply(after, {})
            break
        except KeyboardInterrupt:
            pass
        generation = managed().apply(after, {})
        assert dynamic_files(tmp_path) == wanted
        assert managed().apply(before, {}) != generation
    assert boundary == 7  # before and after each of: a file, a removal, the sentinel
    assert router.wait_live(fingerprint(after), PATIENCE).is_live


def test_a_half_written_table_is_not_live(
    managed: Callable[..., TraefikRouter], tmp_path: Path
) -> None:
    def killed_before_the_sentinel(effect: str) -> None:
        if "sentinel" in effect:
            raise KeyboardInterrupt

    router = managed()
    router.ensure_running()
    before = router.apply(RouteTable((ENTRY,)), {})
    table = RouteTable((replace(ENTRY, path="/x"),))
    with pytest.raises(KeyboardInterrupt):
        managed(killed_before_the_sentinel).apply(table, {})
    assert not router.wait_live(fingerprint(table), timedelta(milliseconds=300)).is_live
    assert router.observe().generation == before


def test_a_router_whose_record_was_lost_is_adopted(
    managed: Callable[..., TraefikRouter], tmp_path: Path
) -> None:
    assert managed().ensure_running()
    pid = read_pid(tmp_path)
    (tmp_path / "router/traefik/process.json").unlink()
    assert not managed().ensure_running()
    os.kill(pid, 0)
    managed().stop()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_other_entry_points_are_a_new_start(managed: Callable[..., TraefikRouter]) -> None:
    managed().ensure_running()
    port = free_port()
    moved = managed(entryPoints={"web": f"127.0.0.1:{port}"})
    generation = moved.apply(RouteTable((ENTRY,)), {})
    assert moved.ensure_running()
    assert moved.wait_live(generation, PATIENCE).is_live
    assert not moved.ensure_running()


def test_a_port_that_is_taken_is_said_in_its_own_words(
    managed: Callable[..., TraefikRouter],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        router = managed(entryPoints={"web": f"127.0.0.1:{port}"})
        with pytest.raises(ProviderError, match="address already in use"):
            router.ensure_running()


def test_another_program_at_the_entry_point_is_not_taken_for_ours(
    managed: Callable[..., TraefikRouter], traefik: str, tmp_path: Path
) -> None:
    running = managed()
    running.ensure_running()
    generation = running.apply(RouteTable((ENTRY,)), {})
    assert running.wait_live(generation, PATIENCE).is_live
    stranger = Upstream("stranger")
    # The same Traefik and directory, but requests come in elsewhere.
    points = {"web": f"127.0.0.1:{stranger.server_port}"}
    api = running._program.api
    directory = str(tmp_path / "router/traefik/dynamic")
    options = {"managed": False, "api": api, "directory": directory, "entryPoints": points}
    report = TraefikRouter(RouterSettings("p", "traefik", str(tmp_path), options)).wait_live(
        generation, timedelta(milliseconds=200)
    )
    stranger.down()
    assert not report.is_live and "another router" in report.message


def test_keys_lie_in_private_files_and_show_nowhere(
    managed: Callable[..., TraefikRouter], tmp_path: Path
) -> None:
    router = managed()
    router.ensure_running()
    pem = make_certificate(tmp_path, "tls.example")
    entry = replace(SECURE, entry_point="sec")
    generation = router.apply(RouteTable((entry,)), {CERTIFICATE: pem})
    assert router.wait_live(generation, PATIENCE).is_live
    key = pem.reveal().decode().split("PRIVATE KEY-----")[1].strip().split("\n")[0]
    for path in (tmp_path / "router").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0 or path.name == "lock", path
        if path.is_file() and "acme" not in path.name:
            assert key not in path.read_text(), path
    assert key not in repr(router.observe())
    with urllib.request.urlopen(f"{router._program.api}/api/rawdata") as answer:
        assert key not in answer.read().decode()


def test_two_control_planes_share_a_directory_of_the_users_own_router(
    managed: Callable[..., TraefikRouter], tmp_path: Path
) -> None:
    """The user's Traefik is stood in for by one started beforehand."""
    host = managed()
    host.ensure_running()
    options = {
        "managed": False,
        "api": host._program.api,
        "directory": str(tmp_path / "router/traefik/dynamic"),
        "entryPoints": host._settings.options["entryPoints"],
    }
    planes = {"p2": ENTRY, "p3": replace(ENTRY, hosts=("other.example",))}
    routers = {
        plane: TraefikRouter(RouterSettings(plane, "traefik", str(tmp_path), options))
        for plane in planes
    }
    for plane, router in routers.items():
        assert not router.ensure_running()
        generation = router.apply(RouteTable((planes[plane],)), {})
        assert router.wait_live(generation, PATIENCE).is_live
    routers["p2"].apply(RouteTable(), {})
    routers["p2"].stop()
    state = routers["p3"].observe()
    assert (state.table, state.is_live) == (RouteTable((planes["p3"],)), True)
    assert host.observe().gap is None
    with pytest.raises(CapabilityError, match="counts"):
        routers["p3"].count_traffic()
    host.stop()
    assert routers["p3"].observe().gap is not None
    with pytest.raises(UnreachableError):
        routers["p3"].ensure_running()


def test_a_file_that_somebody_changed_is_written_again_and_live_only_when_it_is_served(
    managed: Callable[..., TraefikRouter], tmp_path: Path
) -> None:
    router = managed()
    router.ensure_running()
    table = RouteTable((KIT.entry(backend(1, 100, A)),))
    generation = router.apply(table, {})
    assert router.wait_live(generation, PATIENCE).is_live
    (file,) = (tmp_path / "router/traefik/dynamic").glob("p.acme.*.yml")
    file.write_text(file.read_text().replace(f"/{A.host}:{A.port}", "/127.0.0.1:9"))
    wait_until(lambda: router.observe().table != table, "the change to show")
    assert router.apply(table, {}) == generation
    assert router.wait_live(generation, PATIENCE).is_live
    assert router.observe().table == table


def test_what_a_killed_apply_wrote_is_not_live_though_it_is_not_served_yet(
    managed: Callable[..., TraefikRouter],
) -> None:
    """It is about to be: who believed the table before would stop somebody it leads to."""

    def killed(effect: str) -> None:
        if effect.startswith("write:p.-sentinel"):
            raise KeyboardInterrupt(effect)

    router = managed()
    router.ensure_running()
    before = RouteTable((OTHER, ENTRY))
    router.wait_live(router.apply(before, {}), PATIENCE)
    assert router.observe().is_live
    shifted = replace(ENTRY, backends=(backend(1, 10, A, B), backend(2, 90, C)))
    for after in (RouteTable((OTHER, shifted)), RouteTable((ENTRY,))):
        with pytest.raises(KeyboardInterrupt):
            managed(killed).apply(after, {})
        state = router.observe()
        # A file that is gone may be noticed at once; then what is read back is the truth.
        assert not state.is_live or state.table == after
        assert router.wait_live(router.apply(before, {}), PATIENCE).is_live
        assert router.observe().is_live
