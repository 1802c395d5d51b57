"""What containers use: as the kernel's files say it, and as an engine does."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("docker")

from ctrlplane_gitops.errors import ProviderError, UnreachableError
from ctrlplane_gitops.providers.base import Provider
from ctrlplane_gitops.providers.conformance_kit import wait_until
from ctrlplane_gitops.providers.docker.config import DockerConfig
from ctrlplane_gitops.providers.docker.engine import Engine
from ctrlplane_gitops.providers.docker.stats import ask_engine, ask_socket
from ctrlplane_gitops.providers.docker.usage import usage_reader
from ctrlplane_gitops.state.observed import ObservedReplica, ReplicaPhase
from ctrlplane_gitops.state.usage import Usage
from tests.providers.docker_kit import DockerHooks, run_beside

NETWORK = """Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs
    lo:    9000     100    0    0    0     0          0         0     9000     100    0
  eth0:    1200      10    0    0    0     0          0         0      340       5    0
"""


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def write_v1(root: Path, pid: str = "77\n78\n") -> None:
    memory = root / "memory/docker/abc"
    write(memory / "memory.usage_in_bytes", "9000\n")
    write(memory / "memory.stat", "inactive_file 1\ntotal_inactive_file 3000\n")
    write(memory / "cgroup.procs", pid)
    write(root / "cpuacct/docker/abc/cpuacct.usage", "2500000000\n")


def write_v2(root: Path) -> None:
    group = root / "system.slice/docker-abc.scope"
    write(group / "cpu.stat", "usage_usec 2500000\nuser_usec 1\n")
    write(group / "memory.current", "9000\n")
    write(group / "memory.stat", "anon 1\ninactive_file 3000\n")
    write(group / "cgroup.procs", "77\n")


@pytest.mark.parametrize("groups", [write_v1, write_v2])
def test_both_versions_of_control_groups_say_the_same(tmp_path: Path, groups) -> None:
    groups(tmp_path / "cgroup")
    write(tmp_path / "proc/77/net/dev", NETWORK)
    read = usage_reader(tmp_path / "cgroup", tmp_path / "proc")
    assert read("abc") == Usage(2.5, 6000, 1200, 340)
    assert read("gone") is None


@pytest.mark.parametrize("pid", ["", "0\n", "5\n"])
def test_a_network_that_cannot_be_seen_is_not_told(tmp_path: Path, pid: str) -> None:
    """No process, one of another pid namespace, one that has just ended."""
    write_v1(tmp_path / "cgroup", pid)
    read = usage_reader(tmp_path / "cgroup", tmp_path / "proc")
    assert read("abc") == Usage(2.5, 6000, None, None)


def test_where_the_kernel_shows_no_containers_nothing_is_told(tmp_path: Path) -> None:
    assert usage_reader(tmp_path, tmp_path)("abc") is None


def test_an_engine_that_does_not_listen_is_unreachable(tmp_path: Path) -> None:
    replica = ObservedReplica("n", "abc", 0, ReplicaPhase.RUNNING)
    with pytest.raises(UnreachableError, match="does not answer"):
        ask_socket("d", str(tmp_path / "none.sock"), 1, [replica])


@pytest.mark.docker
class TestEngine(DockerHooks):
    def test_the_engine_says_what_the_kernel_does(self, provider: Provider) -> None:
        self.scale(provider, self.make_release(), 2)
        replicas = self.live(provider)
        for item in replicas:  # what is being started uses more from one moment to the next
            name = item.name
            wait_until(lambda name=name: "hello" in self.log_text(provider, name), "the start")
        wait_until(
            lambda: all((item.rx_bytes or 0) > 0 for item in self.near(provider).values()),
            "traffic of the network itself",
        )
        asked = ask_socket("here", self.host.removeprefix("unix://"), 30, replicas)
        by_sdk = ask_engine(Engine("here", DockerConfig(self.host)), replicas, run_beside)
        for found in (asked, by_sdk):
            assert set(found) == {item.name for item in replicas}
            for name, usage in self.near(provider).items():
                told = found[name]
                assert told.cpu_s and usage.cpu_s and told.cpu_s <= usage.cpu_s
                assert told.memory_bytes and usage.memory_bytes
                assert 0.5 < told.memory_bytes / usage.memory_bytes < 2
                assert told.rx_bytes and usage.rx_bytes and told.rx_bytes <= usage.rx_bytes
                assert told.tx_bytes is not None

    def near(self, provider: Provider) -> dict[str, Usage]:
        return dict(provider.read_usage(self.live(provider)))

    def test_who_is_gone_hides_nobody_and_an_engine_that_is_down_says_so(
        self, provider: Provider
    ) -> None:
        self.scale(provider, self.make_release(), 2)
        replicas = self.live(provider)
        self.scale(provider, self.make_release(), 1)
        path = self.host.removeprefix("unix://")
        assert set(ask_socket("here", path, 30, replicas)) == {replicas[0].name}
        engine = Engine("here", DockerConfig(self.host))
        assert set(ask_engine(engine, replicas, run_beside)) == {replicas[0].name}
        self.relay.is_down = True
        with pytest.raises(UnreachableError):
            ask_socket("here", path, 30, replicas)
        with pytest.raises(ProviderError):
            ask_engine(engine, replicas, run_beside)
        self.relay.is_down = False
        engine.close()
