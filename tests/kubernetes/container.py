"""A container that really runs: a process with the network of its pod and a root of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Protocol

from ctrlplane_gitops.clock import sleep
from tests.kubernetes import isolation
from tests.kubernetes.client import ApiError, Client, Object
from tests.kubernetes.image import Image
from tests.kubernetes.pod import ContainerState, waiting
from tests.kubernetes.probe import Place, Prober, ask
from tests.kubernetes.volume import Giver, NotReadyError, expand, mounts_of

_LAUNCH = Path(__file__).with_name("launch.py")
_USUAL = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PATH = f"{_USUAL}:{Path(sys.executable).parent}"
_AGAIN_S = 0.3


class Home(Protocol):
    """The pod a container is of, as it sees it."""

    name: str
    restart_policy: str
    giver: Giver
    volumes: Mapping[str, Path]
    pause: int
    address: str
    api: tuple[str, str]
    is_over: threading.Event
    grace_s: float

    def is_listening(self, port: int) -> bool: ...

    def report(self) -> None: ...

    def tell(self, reason: str, message: str, kind: str = "Warning") -> None: ...

    def pause_s(self, restarts: int) -> float: ...


class Container:
    """``run`` is its whole life, in a thread of its own."""

    def __init__(
        self, home: Home, spec: Object, image: Image, state: ContainerState, folder: Path
    ) -> None:
        self._home, self._spec, self._image, self.state = home, spec, image, state
        self._folder = folder
        self._ports: Mapping[str, int] = {}
        self._environ: dict[str, str] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._probers: list[Prober] = []
        self._trouble = ""
        self._is_unhealthy = threading.Event()
        # Held while it is decided whether to start, and by who would stop what was started.
        self._starting = threading.Lock()

    def run(self, is_init: bool = False) -> bool:
        """Until it is not to be started again; whether it ended well."""
        number = 0
        while not self._home.is_over.is_set():
            if not self._is_given():
                continue
            with self._starting:
                if self._home.is_over.is_set():
                    return False
                process = self._start(number)
            code = self._run_once(number, process)
            if code == 0 and (is_init or self._home.restart_policy != "Always"):
                return True
            if self._home.restart_policy == "Never" or self._home.is_over.is_set():
                return False
            self._back_off(number)
            number += 1
        return False

    def _is_given(self) -> bool:
        """Whether its environment is there; else it waits, and says for what."""
        host, port = self._home.api
        base = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}
        base |= {"PATH": _PATH, "HOSTNAME": self._home.name} | dict(self._image.env)
        try:
            self._environ = self._home.giver.environment(self._spec, base)
            return True
        except NotReadyError as missing:
            reason, text = "CreateContainerConfigError", str(missing)
        except (ApiError, *Client.BROKEN) as failed:
            reason, text = "ContainerCreating", str(failed)
        if self.state.state != waiting(reason, text):
            self.state.state = waiting(reason, text)
            self._home.report()
            self._home.tell("Failed", f"Error: {text}")
        self._home.is_over.wait(_AGAIN_S)
        return False

    def _back_off(self, restarts: int) -> None:
        seconds = self._home.pause_s(restarts)
        if not seconds:
            return
        self.state.back_off(seconds)
        self._home.report()
        self._home.tell("BackOff", f"Back-off restarting failed container {self.state.name}")
        self._home.is_over.wait(seconds)

    def _run_once(self, number: int, process: subprocess.Popen[bytes]) -> int:
        self._is_unhealthy.clear()
        self.state.begin_again() if number else self.state.begin()
        reader = threading.Thread(target=self._read, args=(process.stdout,))
        reader.start()
        if not self._trouble:
            self._watch_health()
            self._home.report()
        code = process.wait()
        # Those it started go with it, as they would with a real one.
        _signal(process, signal.SIGKILL)
        for prober in self._probers:
            prober.close()
        self._process = None
        reader.join()
        self.state.end(code if code >= 0 else 128 - code, self._trouble)
        self._home.report()
        return 1 if self._is_unhealthy.is_set() else code

    def _start(self, number: int) -> subprocess.Popen[bytes]:
        folder = self._folder / str(number)
        folder.mkdir(parents=True)
        spec = folder / "spec.json"
        security = self._spec.get("securityContext") or {}
        mounts = mounts_of(self._spec, self._home.volumes, self._environ)
        document = {
            "pause": self._home.pause or None,
            "root": str(folder / "root"),
            "is_read_only": security.get("readOnlyRootFilesystem", False),
            "mounts": [*mounts, *((place, place, True) for place in self._image.folders)],
            "folder": self._spec.get("workingDir") or "/",
            "command": self._command(),
        }
        spec.write_text(json.dumps(document))
        reader, writer = os.pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_LAUNCH), str(spec), str(writer)],
            pass_fds=[writer],
            env=self._environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        os.close(writer)
        with os.fdopen(reader, "rb") as told:
            self._trouble = told.read().decode(errors="replace")
        return self._process

    def _command(self) -> list[str]:
        said = self._spec.get("command"), self._spec.get("args")
        first = list(said[0] or self._image.entrypoint)
        rest = list(said[1] if said[1] is not None else () if said[0] else self._image.cmd)
        return [expand(word, self._environ) for word in first + rest]

    def _read(self, stream: IO[bytes]) -> None:
        log = self.state.log()
        with stream:
            for line in stream:
                log.add(line.decode(errors="replace").rstrip("\n"))

    # Health.

    def place(self, ports: Mapping[str, int]) -> None:
        self._ports = ports

    def _watch_health(self) -> None:
        self._probers = []
        if "startupProbe" in self._spec:
            self._ask("startupProbe", self._on_startup, is_once=True)
        else:
            self._on_started()

    def _on_startup(self, holds: bool, trouble: str) -> None:
        if holds:
            self._on_started()
            self._home.report()
        else:
            self._condemn("startup", trouble)

    def _on_started(self) -> None:
        self.state.is_started = True
        if "readinessProbe" in self._spec:
            self._ask("readinessProbe", self._on_readiness)
        else:
            self.state.is_ready = True
        if "livenessProbe" in self._spec:
            self._ask("livenessProbe", self._on_liveness)

    def _ask(self, name: str, tell: Callable[[bool, str], None], *, is_once: bool = False) -> None:
        place = Place(self._home.address, self._ports, self.enter, self._home.is_listening)
        self._probers.append(Prober(self._spec[name], place, tell, is_once=is_once))

    def _on_readiness(self, holds: bool, trouble: str) -> None:
        if self._process is None:
            return
        if self.state.is_ready != holds:
            self.state.is_ready = holds
            self._home.report()
        if not holds:
            self._home.tell("Unhealthy", f"Readiness probe failed: {trouble}")

    def _on_liveness(self, holds: bool, trouble: str) -> None:
        if not holds:
            self._condemn("liveness", trouble)

    def _condemn(self, what: str, trouble: str) -> None:
        """It is to be started again."""
        self._home.tell("Unhealthy", f"{what.capitalize()} probe failed: {trouble}")
        self._home.tell("Killing", f"Container {self.state.name} failed {what} probe", "Normal")
        self._is_unhealthy.set()
        threading.Thread(target=self._end, args=(self._home.grace_s,)).start()

    # Ending, and commands inside.

    def stop(self, grace_s: float) -> None:
        """What is to be done before, then SIGTERM, and SIGKILL after all of the time."""
        with self._starting:
            before = self._spec.get("lifecycle", {}).get("preStop", {})
        if self._process is None:
            return
        used_s = 0.0
        if "sleep" in before:
            used_s = min(float(before["sleep"]["seconds"]), grace_s)
            sleep(used_s)
        elif "exec" in before:
            place = Place(self._home.address, self._ports, self.enter, self._home.is_listening)
            ask({**before, "timeoutSeconds": max(grace_s, 1)}, place)
        self._end(grace_s - used_s)

    def _end(self, grace_s: float) -> None:
        process = self._process
        if process is None:
            return
        with suppress(ProcessLookupError):
            process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=max(grace_s, 0))
            return
        _signal(process, signal.SIGKILL)

    def kill(self) -> None:
        """As a crash would."""
        if self._process is not None:
            _signal(self._process, signal.SIGKILL)

    @property
    def process_id(self) -> int:
        """0 while nothing runs."""
        process = self._process
        return process.pid if process is not None else 0

    def enter(self, command: Sequence[str]) -> tuple[Sequence[str], Mapping[str, str], Path]:
        """What runs a command inside; OSError while nothing does, or where there is no such."""
        number = self.process_id
        if not number:
            raise OSError("container is not running")
        if "/" not in command[0] and not shutil.which(command[0], path=self._environ["PATH"]):
            raise OSError(f'exec: "{command[0]}": executable file not found in $PATH')
        options = ["-n", "-m", "-r", "-w"]
        if isolation.is_own_user(number):
            options = ["-U", "--preserve-credentials", *options]
        arguments = ["nsenter", "-t", str(number), *options, "--", *command]
        return arguments, self._environ, Path("/")


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
