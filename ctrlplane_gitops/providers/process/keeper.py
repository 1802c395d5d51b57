"""Looks after one application process: ``python -I -S keeper.py DIR``, request on stdin.

Runs alone, with the standard library only, and outlives the controller. The request is JSON:
``{"id", "argv", "cwd", "env", "log_bytes", "groups"}``; secrets in ``env`` never touch the disk or
an argument list. It starts the application in a process group of its own and in the control
groups it is given, copies its output to ``DIR/log`` with time and stream, and writes
``DIR/state.json`` at start and end. Where no control group limits memory it watches the resident
size against ``DIR/replica.json`` (read again when it changes). SIGTERM passes on, waits the
seconds in ``DIR/stop`` and kills what is left. Imports are few: there is one keeper per replica.
"""

from __future__ import annotations

import ctypes
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
# Standard input and outputs, the replica's lock, its claim on ports.
KEPT_FDS = 5
TICK_S = 0.5
DRAIN_S = 1.0
DEFAULT_GRACE_S = 30.0
MAX_LINE = 64 * 1024
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
LIBC = ctypes.CDLL(None)


def now_text() -> str:
    """RFC 3339 in UTC with milliseconds, without importing ``datetime``."""
    at = time.time()
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(at))}.{int(at * 1000) % 1000:03d}Z"


def size_text(size: int) -> str:
    """As the specs would write it: ``64Mi``."""
    for shift, unit in ((30, "Gi"), (20, "Mi"), (10, "Ki")):
        if size and size % (1 << shift) == 0:
            return f"{size >> shift}{unit}"
    return str(size)


def read_bytes(path: str) -> bytes:
    with open(path, "rb") as file:  # noqa: PTH123 - pathlib costs a megabyte per replica
        return file.read()


def start_ticks(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None when there is no such process."""
    try:
        return int(read_bytes(f"/proc/{pid}/stat").rpartition(b")")[2].split()[19])
    except OSError:
        return None


def children_of(pid: int) -> list[int]:
    """Direct children; empty when the process is gone."""
    found: list[int] = []
    with suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208
            found += map(int, read_bytes(f"/proc/{pid}/task/{task}/children").split())
    return found


def resident_bytes(pid: int) -> int:
    """Resident memory of a process and everything below it."""
    total = 0
    with suppress(OSError, IndexError):
        total = int(read_bytes(f"/proc/{pid}/statm").split()[1]) * PAGE_BYTES
    return total + sum(resident_bytes(child) for child in children_of(pid))


def oom_kills(group: str) -> int:
    """How often the kernel killed for memory in a control group (v1 and v2 name it differently)."""
    for name in ("memory.events", "memory.oom_control"):
        with suppress(OSError):
            for line in read_bytes(f"{group}/{name}").splitlines():
                if line.startswith(b"oom_kill "):
                    return int(line.split()[1])
    return 0


class Log:
    """``DIR/log``, one line per printed line, rotated to ``log.1``."""

    def __init__(self, directory: str, max_bytes: int) -> None:
        self._path = f"{directory}/log"
        self._max_bytes = max_bytes
        self._partial: dict[str, bytes] = {}
        self._open()

    def _open(self) -> None:
        self._handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._size = os.fstat(self._handle).st_size

    def feed(self, stream: str, data: bytes) -> None:
        *lines, rest = (self._partial.get(stream, b"") + data).split(b"\n")
        while len(rest) > MAX_LINE:
            lines.append(rest[:MAX_LINE])
            rest = rest[MAX_LINE:]
        self._partial[stream] = rest
        prefix = f"{now_text()} {stream} ".encode()
        self._write([prefix + line.rstrip(b"\r") + b"\n" for line in lines])

    def finish(self, stream: str) -> None:
        if self._partial.get(stream):
            self.feed(stream, b"\n")

    def _write(self, lines: list[bytes]) -> None:
        # A full disk loses log lines, never the application.
        with suppress(OSError):
            batch = b""
            for line in lines:
                size = self._size + len(batch)
                if size and size + len(line) > self._max_bytes:
                    self._append(batch)
                    batch = b""
                    self._rotate()
                batch += line
            self._append(batch)

    def _append(self, data: bytes) -> None:
        self._size += os.write(self._handle, data) if data else 0

    def _rotate(self) -> None:
        os.replace(self._path, f"{self._path}.1")  # noqa: PTH105
        os.close(self._handle)
        self._open()


class Keeper:
    def __init__(self, directory: str, request: dict[str, Any]) -> None:
        self.directory = directory
        self.request = request
        self.groups: dict[str, str] = request["groups"]
        self.log = Log(directory, int(request["log_bytes"]))
        self.selector = selectors.DefaultSelector()
        self.reason = ""
        self.is_stop_asked = False
        self.kill_at: float | None = None
        self.watch_at = 0.0
        self.memory_limit: int | None = None
        self.is_watched = False
        self.limits_seen: tuple[int, int] | None = None
        self.app: subprocess.Popen[bytes] | None = None
        self.state: dict[str, Any] = {
            "id": request["id"],
            "boot_id": read_bytes("/proc/sys/kernel/random/boot_id").decode().strip(),
            "keeper_pid": os.getpid(),
            "started_at": now_text(),
        }

    def save(self, **changes: object) -> None:
        """Write ``state.json``; a directory that was deleted under us is no reason to stop."""
        self.state.update(changes)
        draft = f"{self.directory}/state.json.new"
        with suppress(OSError):
            handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(handle, "w") as file:
                file.write(json.dumps(self.state))
            os.replace(draft, f"{self.directory}/state.json")  # noqa: PTH105

    def run(self) -> None:
        wake_in, wake_out = os.pipe()
        os.set_blocking(wake_in, False)
        os.set_blocking(wake_out, False)
        signal.set_wakeup_fd(wake_out)
        # Handlers end with exec; had we ignored a signal, the application would ignore it as well.
        for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self.on_signal)
        self.selector.register(wake_in, selectors.EVENT_READ, "")
        self.start()
        if self.app is not None:
            while self.app.poll() is None:
                self.watch()
                self.pump(TICK_S if self.kill_at is None else 0.05)
                self.reap_others()
            self.finish(self.app)
        self.remove_groups()

    def on_signal(self, number: int, frame: object) -> None:
        # Only noted: the loop acts where it knows that the application is not reaped yet.
        if number == signal.SIGTERM:
            self.is_stop_asked = True

    def grace_s(self) -> float:
        try:
            return float(read_bytes(f"{self.directory}/stop"))
        except (OSError, ValueError):
            return DEFAULT_GRACE_S

    def start(self) -> None:
        try:
            try:
                self.app = self.spawn(self.groups)
            except subprocess.SubprocessError:
                # The groups cannot be joined: run without them and watch the memory ourselves.
                self.remove_groups()
                self.groups = {}
                self.state["has_refused_groups"] = True
                self.app = self.spawn(self.groups)
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            self.save(exit_code=127, reason=f"could not be started: {error}", ended_at=now_text())
            return
        for stream, pipe in (("stdout", self.app.stdout), ("stderr", self.app.stderr)):
            assert pipe is not None
            os.set_blocking(pipe.fileno(), False)
            self.selector.register(pipe, selectors.EVENT_READ, stream)
        self.request.clear()
        pid = self.app.pid
        self.save(app_pid=pid, app_ticks=start_ticks(pid))

    def spawn(self, groups: dict[str, str]) -> subprocess.Popen[bytes]:
        keeper = os.getpid()

        def prepare_child() -> None:
            LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != keeper:  # it died before the line above
                os._exit(1)
            for group in groups.values():
                handle = os.open(f"{group}/cgroup.procs", os.O_WRONLY)
                os.write(handle, b"0")
                os.close(handle)

        # preexec_fn is safe here: this process has one thread.
        return subprocess.Popen(
            self.request["argv"],
            cwd=self.request["cwd"],
            env=self.request["env"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=prepare_child,
            process_group=0,
        )

    def pump(self, timeout_s: float) -> None:
        """Copy what the application printed, for at most the timeout when it is silent."""
        for key, _ in self.selector.select(timeout_s):
            try:
                data = os.read(key.fd, MAX_LINE)
            except BlockingIOError:
                continue
            if not key.data:
                continue
            if data:
                self.log.feed(key.data, data)
            else:
                self.selector.unregister(key.fileobj)
                self.log.finish(key.data)

    def reap_others(self) -> None:
        """Reap orphans that came to us, but leave the application's own exit code alone."""
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        with suppress(ChildProcessError):
            while (child := os.waitid(os.P_ALL, 0, flags)) and child.si_pid != self.app_pid:
                os.waitpid(child.si_pid, 0)

    @property
    def app_pid(self) -> int:
        return int(self.state["app_pid"])

    def watch(self) -> None:
        """Stop when asked, kill when the grace is over or the memory limit is passed."""
        at = time.monotonic()
        if self.is_stop_asked and self.kill_at is None:
            self.kill_at = at + self.grace_s()
            self.reason = self.reason or "stopped"
            self.signal_group(signal.SIGTERM)
        if self.kill_at is not None and at >= self.kill_at:
            self.signal_group(signal.SIGKILL)
        if at < self.watch_at:
            return
        self.watch_at = at + TICK_S
        self.read_limits()
        if self.memory_limit is None or ("memory" in self.groups and not self.is_watched):
            return
        if sum(map(resident_bytes, children_of(os.getpid()))) > self.memory_limit:
            self.reason = self.memory_reason()
            self.signal_group(signal.SIGKILL)

    def memory_reason(self) -> str:
        return f"memory limit {size_text(self.memory_limit or 0)} exceeded"

    def read_limits(self) -> None:
        # A file that is gone or half readable leaves the last limits in force.
        with suppress(OSError, ValueError, KeyError, TypeError):
            path = f"{self.directory}/replica.json"
            stat = os.stat(path)  # noqa: PTH116
            if (stat.st_mtime_ns, stat.st_ino) != self.limits_seen:
                raw = json.loads(read_bytes(path))
                limit = raw["limits"]["memory_bytes"]
                self.memory_limit = None if limit is None else int(limit)
                self.is_watched = bool(raw["is_watched"])
                self.limits_seen = (stat.st_mtime_ns, stat.st_ino)

    def signal_group(self, number: int) -> None:
        with suppress(ProcessLookupError, PermissionError):
            if os.getpgid(self.app_pid) == self.app_pid:
                os.killpg(self.app_pid, number)
            else:  # it moved to a group of another's making
                os.kill(self.app_pid, number)

    def group_lives(self) -> bool:
        """Whether a child of ours is in the application's group: its number is taken then."""
        for pid in children_of(os.getpid()):
            with suppress(ProcessLookupError):
                if os.getpgid(pid) == self.app_pid:
                    return True
        return False

    def finish(self, app: subprocess.Popen[bytes]) -> None:
        """End what the application left behind, take its last words, write its exit code."""
        if app.returncode == -signal.SIGKILL and oom_kills(self.groups.get("memory", "")):
            self.read_limits()
            self.reason = self.memory_reason()
        code = app.returncode
        # At once: whoever looks while the rest is taken in must not have to guess.
        self.save(exit_code=code if code >= 0 else 128 - code, reason=self.reason)
        # A shell that is told to stop ends before what it runs: the grace is for the whole group.
        while self.kill_at is not None and time.monotonic() < self.kill_at and self.group_lives():
            self.pump(0.05)
            with suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
        deadline = time.monotonic() + DRAIN_S
        # As sub-reaper we become the parent of all of them. The group is not signalled: its
        # leader is reaped, so its number may already be somebody else's.
        while orphans := children_of(os.getpid()):
            for pid in orphans:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                with suppress(ChildProcessError):
                    os.waitpid(pid, 0)
        while len(self.selector.get_map()) > 1 and time.monotonic() < deadline:
            self.pump(0.05)
        for stream in ("stdout", "stderr"):
            self.log.finish(stream)
        self.save(ended_at=now_text())

    def remove_groups(self) -> None:
        for group in self.groups.values():
            with suppress(OSError):
                os.rmdir(group)  # noqa: PTH106


def main() -> None:
    os.closerange(KEPT_FDS, os.sysconf("SC_OPEN_MAX"))
    LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1)
    request = json.loads(sys.stdin.buffer.read())
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.chdir("/")
    Keeper(sys.argv[1], request).run()


if __name__ == "__main__":
    main()
