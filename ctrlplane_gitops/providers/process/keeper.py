"""Looks after one application process: ``python -I -S keeper.py DIR``, request on stdin.

Runs alone, with the standard library only, and outlives the controller. The request is JSON:
``{"id", "argv", "cwd", "env", "log_bytes"}``; secrets in ``env`` never touch the disk or an
argument list. It starts the application in a process group of its own, copies its output to
``DIR/log`` with time and stream, kills it above the memory limit in ``DIR/replica.json`` (read
again when it changes), and writes ``DIR/state.json`` at start and end. SIGTERM passes on, waits
the seconds in ``DIR/stop`` and kills what is left.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
TICK_S = 0.5
DRAIN_S = 1.0
DEFAULT_GRACE_S = 30.0
MAX_LINE = 64 * 1024
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
LIBC = ctypes.CDLL(None)


def now_text() -> str:
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    return at.replace("+00:00", "Z")


def start_ticks(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None when there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    return int(stat.rpartition(b")")[2].split()[19])


def children_of(pid: int) -> list[int]:
    """Direct children; empty when the process is gone."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += [int(child) for child in (task / "children").read_text().split()]
    return found


def resident_bytes(pid: int) -> int:
    """Resident memory of a process and everything below it."""
    total = 0
    with contextlib.suppress(OSError, IndexError):
        total = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES
    return total + sum(resident_bytes(child) for child in children_of(pid))


class Log:
    """``DIR/log``, one line per printed line, rotated to ``log.1``."""

    def __init__(self, directory: Path, max_bytes: int) -> None:
        self._path = directory / "log"
        self._max_bytes = max_bytes
        self._file = self._path.open("ab", buffering=0)
        self._partial: dict[str, bytes] = {}

    def feed(self, stream: str, data: bytes) -> None:
        *lines, rest = (self._partial.get(stream, b"") + data).split(b"\n")
        while len(rest) > MAX_LINE:
            lines.append(rest[:MAX_LINE])
            rest = rest[MAX_LINE:]
        self._partial[stream] = rest
        prefix = f"{now_text()} {stream} ".encode()
        if lines:
            self._write(b"".join(prefix + line.rstrip(b"\r") + b"\n" for line in lines))

    def finish(self, stream: str) -> None:
        if self._partial.get(stream):
            self.feed(stream, b"\n")

    def _write(self, data: bytes) -> None:
        # A full disk loses log lines, never the application.
        with contextlib.suppress(OSError):
            if self._file.tell() + len(data) > self._max_bytes and self._file.tell():
                self._path.replace(self._path.with_name("log.1"))
                self._file.close()
                self._file = self._path.open("ab", buffering=0)
            self._file.write(data)


class Keeper:
    def __init__(self, directory: Path, request: dict[str, Any]) -> None:
        self.directory = directory
        self.request = request
        self.log = Log(directory, int(request["log_bytes"]))
        self.selector = selectors.DefaultSelector()
        self.reason = ""
        self.kill_at: float | None = None
        self.memory_limit: int | None = None
        self.limits_seen: tuple[int, int] | None = None
        self.state: dict[str, Any] = {
            "id": request["id"],
            "boot_id": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
            "keeper_pid": os.getpid(),
            "keeper_ticks": start_ticks(os.getpid()),
            "started_at": now_text(),
        }

    def save(self, **changes: object) -> None:
        """Write ``state.json``; a directory that was deleted under us is no reason to stop."""
        self.state.update(changes)
        with contextlib.suppress(OSError):
            draft = self.directory / "state.json.new"
            draft.write_text(json.dumps(self.state))
            draft.replace(self.directory / "state.json")

    def run(self) -> None:
        wake_in, wake_out = os.pipe()
        os.set_blocking(wake_in, False)
        os.set_blocking(wake_out, False)
        signal.set_wakeup_fd(wake_out)
        for number in (signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, self.on_signal)
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        app = self.start()
        if app is None:
            return
        self.selector.register(wake_in, selectors.EVENT_READ, "")
        while app.poll() is None:
            self.pump(TICK_S if self.kill_at is None else 0.05)
            self.watch()
            self.reap_others(app)
        self.finish(app)

    def on_signal(self, number: int, frame: object) -> None:
        if number == signal.SIGTERM and self.kill_at is None:
            self.kill_at = time.monotonic() + self.grace_s()
            self.reason = self.reason or "stopped"
            self.signal_group(signal.SIGTERM)

    def grace_s(self) -> float:
        try:
            return float((self.directory / "stop").read_text())
        except (OSError, ValueError):
            return DEFAULT_GRACE_S

    def start(self) -> subprocess.Popen[bytes] | None:
        def die_with_keeper() -> None:
            LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

        try:
            # preexec_fn is safe here: this process has one thread.
            app = subprocess.Popen(
                self.request["argv"],
                cwd=self.request["cwd"],
                env=self.request["env"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                preexec_fn=die_with_keeper,
                process_group=0,
            )
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            self.save(exit_code=127, reason=f"could not be started: {error}", ended_at=now_text())
            return None
        for stream, pipe in (("stdout", app.stdout), ("stderr", app.stderr)):
            assert pipe is not None
            os.set_blocking(pipe.fileno(), False)
            self.selector.register(pipe, selectors.EVENT_READ, stream)
        self.request["env"] = {}
        self.save(app_pid=app.pid, app_ticks=start_ticks(app.pid))
        if self.kill_at is not None:  # a SIGTERM came before there was a group to pass it to
            self.signal_group(signal.SIGTERM)
        return app

    def pump(self, timeout_s: float) -> bool:
        """Copy what the application printed; False when nothing came."""
        events = self.selector.select(timeout_s)
        for key, _ in events:
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
        return bool(events)

    def reap_others(self, app: subprocess.Popen[bytes]) -> None:
        """Reap orphans that came to us, but leave the application's own exit code alone."""
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        with contextlib.suppress(ChildProcessError):
            while (child := os.waitid(os.P_ALL, 0, flags)) and child.si_pid != app.pid:
                os.waitpid(child.si_pid, 0)

    def watch(self) -> None:
        if self.kill_at is not None and time.monotonic() >= self.kill_at:
            self.signal_group(signal.SIGKILL)
        self.read_limits()
        if self.memory_limit is None:
            return
        if sum(map(resident_bytes, children_of(os.getpid()))) > self.memory_limit:
            self.reason = "memory limit"
            self.signal_group(signal.SIGKILL)

    def read_limits(self) -> None:
        # A file that is gone or half readable leaves the last limits in force.
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            path = self.directory / "replica.json"
            stat = path.stat()
            if (stat.st_mtime_ns, stat.st_ino) != self.limits_seen:
                limit = json.loads(path.read_text())["limits"]["memory_bytes"]
                self.memory_limit = None if limit is None else int(limit)
                self.limits_seen = (stat.st_mtime_ns, stat.st_ino)

    def signal_group(self, number: int) -> None:
        if "app_pid" in self.state:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.state["app_pid"], number)

    def finish(self, app: subprocess.Popen[bytes]) -> None:
        """End what the application left behind, take its last words, write its exit code."""
        deadline = time.monotonic() + DRAIN_S
        # As sub-reaper we become the parent of all of them. The group is not signalled: its
        # leader is reaped, so its number may already be somebody else's.
        while orphans := children_of(os.getpid()):
            for pid in orphans:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, 0)
        while len(self.selector.get_map()) > 1 and time.monotonic() < deadline:
            self.pump(0.05)
        for stream in ("stdout", "stderr"):
            self.log.finish(stream)
        code = app.returncode
        exit_code = code if code >= 0 else 128 - code
        self.save(exit_code=exit_code, reason=self.reason, ended_at=now_text())


def main() -> None:
    LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1)
    request = json.loads(sys.stdin.buffer.read())
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.chdir("/")
    Keeper(Path(sys.argv[1]), request).run()


if __name__ == "__main__":
    main()
