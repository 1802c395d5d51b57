"""A router that outlives us: started once, found again by whoever comes next.

It is known by pid, start time and boot from a record; where the record is missing (killed between
the start and writing it down), by an argument no other program has: the path of its configuration.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ctrlplane_gitops.clock import monotonic_s, sleep
from ctrlplane_gitops.errors import ProviderError
from ctrlplane_gitops.file import write_file
from ctrlplane_gitops.process_id import (
    ProcessId,
    find_process,
    is_alive,
    leads_session,
    read_boot_id,
    reap,
    send_signal,
)
from ctrlplane_gitops.value import struct

_PROC = Path("/proc")
_PATIENCE_S = 20.0
_MAX_LOG_BYTES = 10 * 2**20


@struct
class Supervisor:
    """``directory`` is the router's own. ``marker`` is the argument only it has."""

    directory: Path
    marker: str

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else starts or ends this router inside the block; ProviderError (retryable) when
        somebody does so for too long."""
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ProviderError(f"the router has no place: {error}", is_retryable=True) from None
        with (self.directory / "lock").open("ab") as lock:
            deadline = monotonic_s() + _PATIENCE_S
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if monotonic_s() > deadline:
                        raise ProviderError(
                            f"{self.directory} is in use by another process", is_retryable=True
                        ) from None
                    sleep(0.02)
            yield

    def find(self) -> ProcessId | None:
        """The living router of this directory."""
        record = self._read_record()
        if record is not None:
            reap(record.pid)
            if is_alive(record):
                return record
        return next((found for found in self._scan() if leads_session(found)), None)

    def start(self, argv: Sequence[str], environ: Mapping[str, str]) -> ProcessId:
        """A new one, detached: own session, null for stdin, its output in ``log``. What is left of
        an earlier one is ended first."""
        for left in self._scan():
            send_signal(left, signal.SIGKILL)
        log = self.directory / "log"
        with suppress(FileNotFoundError):
            if log.stat().st_size > _MAX_LOG_BYTES:
                log.unlink()
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        actions: list[tuple[Any, ...]] = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), flags, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        try:
            pid = os.posix_spawn(
                argv[0],
                list(argv),
                dict(environ),
                file_actions=actions,
                setsid=True,
                setsigmask=(),
                setsigdef=(signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD),
            )
        except OSError as error:
            raise ProviderError(f"{argv[0]} cannot be started: {error.strerror}") from None
        started = find_process(pid) or ProcessId(pid, 0)
        record = {"pid": pid, "ticks": started.ticks, "boot": read_boot_id()}
        write_file(self.directory / "process.json", json.dumps(record), 0o600)
        return started

    def stop(self, process: ProcessId, gentle: signal.Signals, grace_s: float) -> None:
        """Ask it to end; kill it, and what is left of it, when it has not after the grace."""
        send_signal(process, gentle)
        self._wait_gone(process, grace_s)
        for left in (process, *self._scan()):
            send_signal(left, signal.SIGKILL)
        self._wait_gone(process, _PATIENCE_S)
        (self.directory / "process.json").unlink(missing_ok=True)

    def log_end(self) -> str:
        """Its last words, on one line."""
        with suppress(OSError):
            lines = (self.directory / "log").read_text(errors="replace").split("\n")
            return " ".join(line.strip() for line in lines if line.strip())[-400:]
        return ""

    def _wait_gone(self, process: ProcessId, patience_s: float) -> None:
        deadline = monotonic_s() + patience_s
        # A leader whose threads have not all ended looks dead before its sockets are closed; a
        # child of ours can only be reaped after that.
        while not reap(process.pid) or is_alive(process):
            if monotonic_s() > deadline:
                return
            sleep(0.01)

    def _read_record(self) -> ProcessId | None:
        try:
            raw = json.loads((self.directory / "process.json").read_bytes())
            found = ProcessId(raw["pid"], raw["ticks"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return found if raw.get("boot") == read_boot_id() else None

    def _scan(self) -> Iterator[ProcessId]:
        """Every process of this user with the marker among its arguments."""
        wanted = os.fsencode(self.marker)
        for entry in _PROC.iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            with suppress(OSError):
                if wanted in (entry / "cmdline").read_bytes().split(b"\0"):
                    found = find_process(int(entry.name))
                    if found is not None:
                        yield found
