"""What is left when the controller, a keeper or the machine dies at the worst moment."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from ctrlplane_gitops.process_id import ProcessId, find_process, send_signal
from ctrlplane_gitops.providers.base import Provider
from ctrlplane_gitops.providers.conformance_kit import wait_until
from ctrlplane_gitops.redact import SecretValue
from ctrlplane_gitops.state.action import Material
from ctrlplane_gitops.state.key import Kind, ResourceKey
from ctrlplane_gitops.state.observed import ReplicaPhase
from ctrlplane_gitops.state.template import Release, SecretMount, SecretType
from tests.providers.process_kit import ProcessKit, build, run_in_child

CERT = ResourceKey(Kind.SECRET, "acme", "cert")
MATERIAL = Material(secrets={CERT: SecretValue(b"value")})
NAME = "conf.acme.web.v1.0"
# Two replicas: prepare, start / stop, remove of each, and every one is told twice.
MOMENTS = range(1, 9)


def dying(moment: int) -> Callable[[str], None]:
    """An ``on_effect`` that kills its own process the n-th time it is called."""
    calls = iter(range(1, moment + 1))

    def on_effect(effect: str) -> None:
        if next(calls) == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    return on_effect


class TestCrash(ProcessKit):
    def release(self) -> Release:
        return self.make_release(secrets=(SecretMount(CERT, SecretType.FILE, "cert", "d"),))

    def assert_everything_is_seen(self, provider: Provider) -> None:
        """What runs is shown, and what is shown as live runs: one keeper each."""
        observed = self.sets(provider)
        shown = {replica.name for item in observed.values() for replica in item.replicas}
        live = {replica.name for item in observed.values() for replica in item.live}
        running = self.processes()
        assert set(running) <= shown
        assert live <= set(running)
        assert all(len(item.keepers) == 1 for item in running.values())

    @pytest.mark.parametrize("moment", MOMENTS)
    def test_a_start_cut_short_is_completed_by_the_next_pass(
        self, provider: Provider, moment: int
    ) -> None:
        def start() -> None:
            self.scale(build(self.directory, on_effect=dying(moment)), self.release(), 2, MATERIAL)

        assert run_in_child(start) == -signal.SIGKILL
        self.assert_everything_is_seen(provider)
        self.scale(provider, self.release(), 2, MATERIAL)
        assert [replica.index for replica in self.live(provider)] == [0, 1]
        self.assert_everything_is_seen(provider)
        assert sum(len(item.keepers) for item in self.processes().values()) == 2
        assert self.scale(provider, self.release(), 2, MATERIAL).effects == 0

    @pytest.mark.parametrize("moment", MOMENTS)
    def test_a_stop_cut_short_is_completed_by_the_next_pass(
        self, provider: Provider, moment: int
    ) -> None:
        self.scale(provider, self.release(), 2, MATERIAL)
        secrets = [
            (self.replica_dir(replica.name) / "work" / "cert").resolve()
            for replica in self.live(provider)
        ]

        def stop() -> None:
            self.scale(build(self.directory, on_effect=dying(moment)), self.release(), 0)

        assert run_in_child(stop) == -signal.SIGKILL
        self.assert_everything_is_seen(provider)
        self.scale(provider, self.release(), 0)
        assert self.sets(provider) == {} and self.processes() == {}
        assert not any(secret.exists() for secret in secrets)
        assert list((self.directory / "processes/acme/web").iterdir()) == []

    def test_a_half_made_directory_is_a_stopped_replica(self, provider: Provider) -> None:
        directory = self.replica_dir(NAME)
        (directory / "work").mkdir(parents=True)
        (directory / "replica.json").write_text('{"id": ')
        assert [it.phase for it in self.sets(provider)[1].replicas] == [ReplicaPhase.STOPPED]
        self.scale(provider, self.release(), 1, MATERIAL)
        assert len(self.live(provider)) == 1

    def test_a_keeper_without_its_whole_request_starts_nothing(self, provider: Provider) -> None:
        self.scale(provider, self.release(), 1, MATERIAL)
        os.kill(self.keeper(NAME).pid, signal.SIGKILL)
        wait_until(lambda: not self.live(provider), "the death to show")
        (self.replica_dir(NAME) / "state.json").unlink()
        replica = self.sets(provider)[1].replicas[0]
        assert (replica.phase, replica.reason) == (ReplicaPhase.STOPPED, "never started")


class TestKeeperDeath(ProcessKit):
    def test_the_application_dies_with_its_keeper(self, provider: Provider) -> None:
        self.scale(provider, self.make_release(), 1)
        app = find_process(self.state(NAME)["app_pid"])
        os.kill(self.keeper(NAME).pid, signal.SIGKILL)
        wait_until(lambda: app is not None and find_process(app.pid) != app, "the death")
        replica = self.sets(provider)[1].replicas[0]
        assert (replica.phase, replica.reason) == (ReplicaPhase.STOPPED, "its keeper died")

    def test_what_the_application_left_is_ended_before_it_starts_again(
        self, provider: Provider
    ) -> None:
        command = ("sh", "-c", "setsid sleep 600 & sleep 600")
        release = self.make_release(command=command)
        self.scale(provider, release, 1)
        wait_until(lambda: len(self.processes()[NAME].processes) == 4, "all four processes")
        os.kill(self.keeper(NAME).pid, signal.SIGKILL)
        wait_until(lambda: not self.live(provider), "the death to show")
        orphans = self.processes()[NAME].processes
        assert orphans
        self.scale(provider, release, 1)
        assert all(find_process(orphan.pid) != orphan for orphan in orphans)
        assert len(self.live(provider)) == 1

    def test_processes_whose_directory_is_gone_are_shown_and_ended(
        self, provider: Provider
    ) -> None:
        self.scale(provider, self.make_release(), 1)
        self.replica_dir(NAME).rename(self.directory / "aside")
        replica = self.sets(provider)[1].replicas[0]
        assert replica.phase is ReplicaPhase.STOPPED and "pids" in replica.reason
        self.scale(provider, self.make_release(), 1)
        assert len(self.live(provider)) == 1
        assert len(self.processes()[NAME].keepers) == 1

    def test_a_restart_of_the_machine_is_a_stopped_replica(self, provider: Provider) -> None:
        self.scale(provider, self.make_release(), 1)
        os.kill(self.keeper(NAME).pid, signal.SIGKILL)
        wait_until(lambda: not self.live(provider), "the death to show")
        path = self.replica_dir(NAME) / "state.json"
        path.write_text(path.read_text().replace(self.state(NAME)["boot_id"], "another boot"))
        replica = self.sets(provider)[1].replicas[0]
        assert replica.reason == "the machine was restarted"


def test_a_zombie_is_dead_and_a_stranger_with_its_number_gets_no_signal(tmp_path: Path) -> None:
    ready, go = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(ready[1], b"x")
        os.read(go[0], 1)
        os._exit(0)
    os.read(ready[0], 1)
    found = find_process(pid)
    assert found is not None
    assert not send_signal(ProcessId(pid, found.ticks - 1), signal.SIGKILL)
    assert find_process(pid) == found
    os.write(go[1], b"x")
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert find_process(pid) is None
    assert not send_signal(found, signal.SIGTERM)
    os.waitpid(pid, 0)
    for end in (*ready, *go):
        os.close(end)
