"""The process provider: the shipped suite with real processes, and what only processes have."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from ctrlplane_gitops.errors import CapabilityError, ProviderError, UsageError
from ctrlplane_gitops.providers.base import Provider
from ctrlplane_gitops.providers.conformance import ProviderConformance
from ctrlplane_gitops.providers.conformance_kit import DB, WEB, blob_digest, wait_until
from ctrlplane_gitops.redact import SecretValue
from ctrlplane_gitops.state.action import (
    Material,
    PrepareRelease,
    RemoveInstance,
    ScaleReplicaSet,
)
from ctrlplane_gitops.state.key import Kind, ResourceKey
from ctrlplane_gitops.state.observed import ReplicaPhase
from ctrlplane_gitops.state.template import FileMount, SecretMount, SecretType, Volume
from tests.providers.process_kit import ProcessKit, build, run_in_child

TOKEN = ResourceKey(Kind.SECRET, "acme", "token")
NAME = "conf.acme.web.v1.0"


class TestConformance(ProcessKit, ProviderConformance):
    pass


class TestConformanceWithoutControlGroups(ProcessKit, ProviderConformance):
    options = {"cgroups": False}  # noqa: RUF012


class TestEnvironment(ProcessKit):
    def test_nothing_of_the_controllers_environment_leaks(
        self, provider: Provider, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CONTROLLER_TOKEN", "of the controller")
        self.scale(provider, self.make_release(command=("sleep", "600"), env={"MINE": "1"}), 1)
        output = provider.execute(NAME, ("env",), timedelta(seconds=20)).output.decode()
        names = {line.partition("=")[0] for line in output.splitlines()}
        own = {name for name in names if not name.startswith("CTRLPLANE_")}
        assert {"MINE", "PATH", "PORT", "PORT_HTTP"} <= own
        assert own <= {"HOME", "LANG", "MINE", "PATH", "PORT", "PORT_HTTP", "TMPDIR"}

    def test_the_application_inherits_neither_files_nor_ignored_signals(
        self, provider: Provider
    ) -> None:
        self.scale(provider, self.make_release(command=("sleep", "600")), 1)
        proc = Path("/proc") / str(self.state(NAME)["app_pid"])
        # Not at once: while it is being loaded it reads its libraries.
        own = {"0", "1", "2"}
        wait_until(lambda: {it.name for it in (proc / "fd").iterdir()} == own, "only its own files")
        fields = dict(line.split(":\t") for line in (proc / "status").read_text().splitlines())
        ignored = int(fields["SigIgn"], 16) | int(fields["SigBlk"], 16)
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE):
            assert not ignored >> (number - 1) & 1

    def test_the_port_reaches_environment_and_command(self, provider: Provider) -> None:
        command = ("python3", "-m", "http.server", "-b", "127.0.0.1", "$(PORT_HTTP)")
        self.scale(provider, self.make_release(command=command), 1)
        endpoint = self.live(provider)[0].endpoints[0]
        assert endpoint.host == "127.0.0.1"

        def answers() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex((endpoint.host, endpoint.number)) == 0

        wait_until(answers, "the server on its own port")
        _, output = self.run(provider, NAME, "import os; print(os.environ['PORT'])")
        assert output.strip() == str(endpoint.number)

    def test_a_secret_in_a_command_is_refused(self, provider: Provider) -> None:
        mount = SecretMount(TOKEN, SecretType.ENV, "TOKEN", "d")
        release = self.make_release(command=("echo", "$(TOKEN)"), secrets=(mount,))
        material = Material(secrets={TOKEN: SecretValue(b"x")})
        outcome = self.attempt(provider, ScaleReplicaSet(WEB, "here", release, 1), material)
        assert outcome.error is not None and "arguments are public" in outcome.error.message
        assert outcome.effects == 0

    def test_a_file_secret_lies_in_memory_and_goes_with_its_replica(
        self, provider: Provider
    ) -> None:
        release = self.make_release(secrets=(SecretMount(TOKEN, SecretType.FILE, "key", "d"),))
        self.scale(provider, release, 1, Material(secrets={TOKEN: SecretValue(b"hush")}))
        secret = (self.replica_dir(NAME) / "work" / "key").resolve(strict=True)
        assert secret.read_bytes() == b"hush" and secret.stat().st_mode & 0o777 == 0o600
        assert secret.parent.stat().st_mode & 0o777 == 0o700
        if os.access("/dev/shm", os.W_OK):
            assert secret.is_relative_to("/dev/shm")
        self.scale(provider, release, 0)
        assert not secret.parent.exists()

    @pytest.mark.parametrize("path", ["/etc/passwd", "../up", "a/../../up", "."])
    def test_a_path_outside_the_working_directory_is_refused(
        self, provider: Provider, path: str
    ) -> None:
        mount = FileMount(path, blob_digest(b"x"))
        action = ScaleReplicaSet(WEB, "here", self.make_release(files=(mount,)), 1)
        outcome = self.attempt(provider, action, Material(files={mount.digest: b"x"}))
        assert outcome.error is not None and repr(path) in outcome.error.message
        assert provider.observe().replica_sets == ()

    def test_an_image_is_refused_by_the_name_of_the_capability(self, provider: Provider) -> None:
        self.image = "shop:1"
        outcome = self.attempt(provider, PrepareRelease(WEB, "here", self.make_release()))
        assert isinstance(outcome.error, CapabilityError) and "images" in outcome.error.message

    def test_a_program_that_does_not_exist_is_found_when_preparing(
        self, provider: Provider
    ) -> None:
        release = self.make_release(command=("no-such-program",))
        outcome = self.attempt(provider, PrepareRelease(WEB, "here", release))
        assert outcome.error is not None and "no-such-program" in outcome.error.message


class TestPort(ProcessKit):
    def test_no_two_live_replicas_share_a_port_however_they_start(
        self, provider: Provider, root: Path
    ) -> None:
        other = build(root / "other", "other", ports="20000-29999")
        starts = [
            threading.Thread(target=self.scale, args=(owner, self.make_release(instance=key), 3))
            for owner in (provider, other)
            for key in (WEB, DB)
        ]
        for start in starts:
            start.start()
        for start in starts:
            start.join()
        ports = [
            endpoint.number
            for owner in (provider, other)
            for item in owner.observe().replica_sets
            for replica in item.live
            for endpoint in replica.endpoints
        ]
        self.clean(other)
        assert len(ports) == len(set(ports)) == 12

    def test_a_claim_holds_although_nothing_listens_yet(self, root: Path) -> None:
        one, two = (build(root / plane, plane, ports="20500-20501") for plane in ("one", "two"))
        self.scale(one, self.make_release(), 1)
        self.scale(two, self.make_release(), 1)
        action = ScaleReplicaSet(WEB, "here", self.make_release(), 2)
        outcome = self.attempt(two, action)
        assert outcome.error is not None and outcome.error.is_retryable
        assert "20500 to 20501" in outcome.error.message
        self.scale(one, self.make_release(), 0)
        self.perform(two, action)
        self.clean(two)

    def test_a_port_somebody_listens_on_is_not_given_out(self, root: Path) -> None:
        with socket.socket() as stranger:
            stranger.bind(("127.0.0.1", 0))
            stranger.listen()
            taken = stranger.getsockname()[1]
            provider = build(root / "one", ports=f"{taken}-{taken}")
            outcome = self.attempt(provider, ScaleReplicaSet(WEB, "here", self.make_release(), 1))
            self.clean(provider)
        assert outcome.error is not None and "no port" in outcome.error.message

    def test_a_replaced_replica_keeps_its_port(self, provider: Provider) -> None:
        self.scale(provider, self.make_release(), 1)
        before = self.live(provider)[0]
        self.kill_replica(provider, before)
        wait_until(lambda: not self.live(provider), "the death to show")
        self.scale(provider, self.make_release(), 1)
        assert self.live(provider)[0].endpoints == before.endpoints


class TestLog(ProcessKit):
    options = {"maxLogSize": "1Ki"}  # noqa: RUF012

    def test_the_log_is_rotated_and_its_end_is_kept(self, provider: Provider) -> None:
        script = "for i in range(300): print('line', i)\nimport time; time.sleep(600)"
        self.scale(provider, self.make_release(command=("python3", "-u", "-c", script)), 1)
        wait_until(lambda: self.log_text(provider, NAME)[-1:] == ["line 299"], "the last line")
        files = sorted(self.replica_dir(NAME).glob("log*"))
        assert [file.name for file in files] == ["log", "log.1"]
        assert all(file.stat().st_size <= 1024 for file in files)
        assert [it.text for it in provider.read_logs(NAME, tail=1, is_follow=False)] == ["line 299"]

    def test_following_ends_with_the_replica_and_tells_its_last_words(
        self, provider: Provider
    ) -> None:
        script = (
            "import signal, sys, time\n"
            "signal.signal(signal.SIGTERM, lambda *_: sys.exit(print('bye') or 0))\n"
            "print('hello')\nwhile True: time.sleep(0.05)"
        )
        release = self.make_release(command=("python3", "-u", "-c", script))
        self.scale(provider, release, 1)
        texts = []
        for line in provider.read_logs(NAME, tail=None, is_follow=True):
            texts.append(line.text)
            if line.text == "hello":
                os.kill(self.keeper(NAME).pid, signal.SIGTERM)
        assert texts == ["hello", "bye"]

    def test_an_exit_code_and_its_reason_are_kept(self, provider: Provider) -> None:
        release = self.make_release(command=("python3", "-c", "raise SystemExit(3)"))
        self.scale(provider, release, 1)
        wait_until(lambda: self.sets(provider)[1].replicas[0].exit_code == 3, "the exit code")
        replica = self.sets(provider)[1].replicas[0]
        assert (replica.phase, replica.reason) == (ReplicaPhase.STOPPED, "exited with 3")


class TestStop(ProcessKit):
    def test_the_grace_is_for_the_whole_group(self, provider: Provider) -> None:
        """The shell ends at once; what it runs writes its good-bye within the grace."""
        inner = (
            "import signal, sys, time\n"
            "def leave(*_):\n    time.sleep(0.5); open('data/bye', 'w').write('bye'); sys.exit()\n"
            "signal.signal(signal.SIGTERM, leave)\nprint('up')\nwhile True: time.sleep(0.05)"
        )
        command = ("sh", "-c", f'python3 -u -c "{inner}" & wait')
        volumes = (Volume("data", "data"),)
        release = self.make_release(command=command, volumes=volumes)
        self.scale(provider, release, 1)
        wait_until(lambda: "up" in self.log_text(provider, NAME), "the inner process")
        self.scale(provider, release, 0, stop_timeout=timedelta(seconds=30))
        assert (self.directory / "volumes/acme/web/data/bye").read_text() == "bye"

    def test_what_escaped_the_group_is_ended_too(self, provider: Provider) -> None:
        command = ("sh", "-c", "setsid sleep 600 & echo started; sleep 600")
        self.scale(provider, self.make_release(command=command), 1)
        wait_until(lambda: len(self.processes()[NAME].processes) == 4, "all four processes")
        self.scale(provider, self.make_release(command=command), 0)
        assert self.processes() == {}


class TestOwnership(ProcessKit):
    def test_a_pid_that_became_somebody_elses_is_stopped_and_never_signalled(
        self, provider: Provider
    ) -> None:
        self.scale(provider, self.make_release(), 1)
        os.kill(self.keeper(NAME).pid, signal.SIGKILL)
        wait_until(lambda: not self.live(provider), "the keeper's death to show")
        stranger = subprocess.Popen(["sleep", "600"])
        try:
            path = self.replica_dir(NAME) / "state.json"
            mine, pid = self.state(NAME), str(stranger.pid)
            text = path.read_text().replace(str(mine["keeper_pid"]), pid)
            path.write_text(text.replace(str(mine["app_pid"]), pid))
            assert [it.phase for it in self.sets(provider)[1].replicas] == [ReplicaPhase.STOPPED]
            with pytest.raises(ProviderError, match="not running"):
                provider.execute(NAME, ("true",), timedelta(seconds=5))
            self.scale(provider, self.make_release(), 1)
            self.perform(provider, RemoveInstance(WEB, "here", timedelta(0)))
            assert stranger.poll() is None
        finally:
            stranger.kill()
            stranger.wait()

    def test_another_plane_in_the_same_directory_touches_nothing_of_ours(
        self, provider: Provider
    ) -> None:
        self.scale(provider, self.make_release(), 1)
        other = build(self.directory, "other")
        assert other.observe().replica_sets == ()
        outcome = self.attempt(other, ScaleReplicaSet(WEB, "here", self.make_release(), 1))
        assert outcome.error is not None and "not ours" in outcome.error.message
        self.perform(other, RemoveInstance(WEB, "here", timedelta(0), is_volumes=True))
        assert len(self.live(provider)) == 1

    def test_replicas_outlive_who_started_them(self, provider: Provider) -> None:
        def start() -> None:
            self.scale(build(self.directory), self.make_release(), 2)
            os.kill(os.getpid(), signal.SIGKILL)

        assert run_in_child(start) == -signal.SIGKILL
        assert len(self.live(provider)) == 2
        assert self.scale(provider, self.make_release(), 2).effects == 0

    def test_removing_an_instance_leaves_nothing_but_its_volumes(self, provider: Provider) -> None:
        release = self.make_release(volumes=(Volume("data", "data"),))
        self.scale(provider, release, 2)
        self.perform(provider, RemoveInstance(WEB, "here", timedelta(0)))
        left = {str(path.relative_to(self.directory)) for path in self.directory.rglob("*")}
        assert left <= {
            "processes",
            "processes/acme",
            "volumes",
            "volumes/acme",
            "volumes/acme/web",
            "volumes/acme/web/data",
        }
        assert "volumes/acme/web/data" in left
        assert self.processes() == {}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"maxLogSize": "big"}, "maxLogSize"),
        ({"ports": "20000"}, "range"),
        ({"ports": "9-1"}, "1-65535"),
        ({"cgroups": "yes"}, "true or false"),
        ({"colour": "blue"}, "colour"),
    ],
)
def test_an_option_that_makes_no_sense_is_a_usage_error(
    tmp_path: Path, options: dict[str, object], text: str
) -> None:
    with pytest.raises(UsageError, match=text):
        build(tmp_path, **options)
