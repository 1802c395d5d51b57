"""Limits of processes: by control groups, and by the keeper where there are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from ctrlplane_gitops.providers.base import Capability, Provider
from ctrlplane_gitops.providers.conformance_kit import WEB, wait_until
from ctrlplane_gitops.providers.process import cgroup
from ctrlplane_gitops.state.action import UpdateResources
from ctrlplane_gitops.state.desired import Resources
from ctrlplane_gitops.state.template import Release, Volume
from tests.providers.process_kit import ProcessKit

MIB = 1 << 20
NAME = "conf.acme.web.v1.0"
# Takes 150 MiB once the file "eat" lies in its volume.
EATER = """
import os, time
while not os.path.exists("data/eat"): time.sleep(0.02)
held = bytearray(os.urandom(1)) * (150 << 20)
open("data/full", "w").close()
time.sleep(600)
"""


class LimitClaims(ProcessKit):
    def eater(self) -> Release:
        command = ("python3", "-u", "-c", EATER)
        return self.make_release(command=command, volumes=(Volume("data", "data"),))

    def file(self, name: str) -> Path:
        return self.directory / "volumes/acme/web/data" / name

    def reason(self, provider: Provider) -> str:
        """Why it ended, once its keeper has written that down."""
        replica = self.sets(provider)[1].replicas[0]
        return replica.reason if replica.exit_code is not None else ""

    def test_too_much_memory_ends_the_replica_and_says_so(self, provider: Provider) -> None:
        self.scale(provider, self.eater(), 1, resources=Resources(memory_bytes=64 * MIB))
        self.file("eat").touch()
        wait_until(lambda: self.reason(provider) != "", "the end of it")
        assert self.reason(provider) == "memory limit 64Mi exceeded"

    def test_within_its_limit_it_lives(self, provider: Provider) -> None:
        self.scale(provider, self.eater(), 1, resources=Resources(memory_bytes=512 * MIB))
        self.file("eat").touch()
        wait_until(self.file("full").exists, "the memory to be taken")
        assert len(self.live(provider)) == 1

    @pytest.mark.parametrize("before", [None, 512 * MIB])
    def test_a_limit_lowered_below_what_is_used_ends_the_replica(
        self, provider: Provider, before: int | None
    ) -> None:
        self.scale(provider, self.eater(), 1, resources=Resources(memory_bytes=before))
        self.file("eat").touch()
        wait_until(self.file("full").exists, "the memory to be taken")
        self.perform(provider, UpdateResources(WEB, "here", Resources(memory_bytes=64 * MIB)))
        wait_until(lambda: self.reason(provider) != "", "the end of it")
        assert self.reason(provider) == "memory limit 64Mi exceeded"

    def test_limits_can_be_lifted_and_set_again_without_a_restart(self, provider: Provider) -> None:
        for limits in (Resources(500, 128 * MIB), Resources(), Resources(250, 256 * MIB)):
            if self.sets(provider) == {}:
                self.scale(provider, self.make_release(), 1, resources=limits)
                before = self.live(provider)[0].id
            self.perform(provider, UpdateResources(WEB, "here", limits))
            found = self.live(provider)[0]
            assert (found.id, found.resources) == (before, limits)
            assert self.perform(provider, UpdateResources(WEB, "here", limits)).effects == 0

    def test_odd_limits_are_no_drift(self, provider: Provider) -> None:
        odd = Resources(cpu_millicores=3, memory_bytes=100_000_001)
        self.scale(provider, self.make_release(), 1, resources=odd)
        assert self.live(provider)[0].resources == odd


class TestByControlGroup(LimitClaims):
    @pytest.fixture(autouse=True)
    def needs_groups(self) -> None:
        if set(cgroup.find_bases()) != {"memory", "cpu"}:
            pytest.skip("no control group can be made here")

    def groups(self) -> list[Path]:
        proc = Path("/proc") / str(self.state(NAME)["app_pid"])
        own = (proc / "cgroup").read_text()
        return [
            group
            for base in cgroup.find_bases().values()
            for group in base.iterdir()
            if group.name.startswith("ctrlplane-") and group.name in own
        ]

    def test_a_limited_replica_runs_in_groups_that_end_with_it(self, provider: Provider) -> None:
        release = self.make_release()
        self.scale(provider, release, 1, resources=Resources(500, 128 * MIB))
        groups = self.groups()
        assert len(groups) == 2
        self.scale(provider, release, 0)
        assert not any(group.exists() for group in groups)

    def test_a_cpu_limit_comes_and_changes_while_it_runs(self, provider: Provider) -> None:
        assert Capability.CPU_LIMIT in provider.capabilities
        self.scale(provider, self.make_release(), 1)
        assert self.groups() == []
        for wanted in (500, 200):
            outcome = self.perform(provider, UpdateResources(WEB, "here", Resources(wanted)))
            assert outcome.warnings == () and provider.observe().warnings == ()
            assert cgroup.read_cpu(self.groups()[0], None) == wanted
        group = self.groups()[0]
        self.scale(provider, self.make_release(), 0)
        assert not group.exists()

    def test_a_limit_changed_by_hand_shows_and_is_put_right(self, provider: Provider) -> None:
        wanted = Resources(500, 128 * MIB)
        self.scale(provider, self.make_release(), 1, resources=wanted)
        for group in self.groups():
            cgroup.set_cpu(group, 900)
        shown = self.live(provider)[0].resources
        assert shown == Resources(900, 128 * MIB)
        self.perform(provider, UpdateResources(WEB, "here", wanted))
        assert self.live(provider)[0].resources == wanted


class TestByKeeper(LimitClaims):
    options = {"cgroups": False}  # noqa: RUF012

    def test_a_cpu_limit_is_said_not_to_be_enforced(self, provider: Provider) -> None:
        assert Capability.CPU_LIMIT not in provider.capabilities
        outcome = self.scale(provider, self.make_release(), 1, resources=Resources(500))
        assert "cpu limit not enforced" in outcome.warnings[0]
        assert "instance/acme/web: cpu limit not enforced" in provider.observe().warnings[0]


def make_v2(root: Path, controllers: str) -> Path:
    """A version 2 tree as systemd leaves it: we are in a leaf, its parent hands out controllers."""
    proc, mount = root / "proc", root / "cgroup"
    leaf = mount / "user.slice/app.slice/our.scope"
    leaf.mkdir(parents=True)
    proc.mkdir()
    for group in (leaf, leaf.parent, leaf.parent.parent, mount):
        (group / "cgroup.procs").touch()
        (group / "cgroup.subtree_control").write_text("")
    (leaf.parent / "cgroup.subtree_control").write_text(f"{controllers}\n")
    (proc / "cgroup").write_text("0::/user.slice/app.slice/our.scope\n")
    mountinfo = f"35 24 0:30 / {mount} rw,nosuid shared:9 - cgroup2 cgroup2 rw\n"
    (proc / "mountinfo").write_text(f"24 1 8:1 / / rw - ext4 /dev/sda1 rw\n{mountinfo}")
    return leaf


def test_version_2_groups_are_made_where_the_controllers_are_handed_out(tmp_path: Path) -> None:
    leaf = make_v2(tmp_path, "memory pids")
    assert cgroup.find_bases(tmp_path / "proc") == {"memory": leaf.parent}


def test_version_2_limits_are_written_and_read_back(tmp_path: Path) -> None:
    for name in ("memory.max", "memory.swap.max", "cpu.max"):
        (tmp_path / name).write_text("max")
    assert cgroup.set_memory(tmp_path, 64 * MIB) and cgroup.set_cpu(tmp_path, 1500)
    assert (tmp_path / "cpu.max").read_text() == "150000 100000"
    assert cgroup.read_memory(tmp_path, None) == 64 * MIB
    assert cgroup.read_cpu(tmp_path, None) == 1500
    assert cgroup.set_memory(tmp_path, None) and cgroup.set_cpu(tmp_path, None)
    assert cgroup.read_memory(tmp_path, 7) is None and cgroup.read_cpu(tmp_path, 7) is None


def test_without_proc_there_are_no_groups(tmp_path: Path) -> None:
    assert cgroup.find_bases(tmp_path) == {}
