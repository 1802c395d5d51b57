"""What a replica printed, and commands run beside it."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

from ctrlplane_gitops.clock import monotonic_s, parse_rfc3339, sleep
from ctrlplane_gitops.errors import ProviderError
from ctrlplane_gitops.process_id import ProcessId, is_alive, read_environ
from ctrlplane_gitops.providers.base import ExecResult, LogLine

_POLL_S = 0.1
_CHUNK = 65536


def parse_line(replica: str, raw: bytes) -> LogLine:
    """A line as the keeper wrote it; anything else is text of unknown stream and time.

    >>> parse_line("r", b"2026-01-02T03:04:05.000Z stderr oh no").stream
    'stderr'
    """
    text = raw.decode("utf-8", "replace")
    parts = text.split(" ", 2)
    with suppress(ValueError):
        if len(parts) == 3 and parts[1] in ("stdout", "stderr"):
            return LogLine(replica, parts[1], parse_rfc3339(parts[0]), parts[2])
    return LogLine(replica, "log", None, text)


def read_lines(
    replica: str, directory: Path, tail: int | None, is_running: Callable[[], bool] | None
) -> Iterator[LogLine]:
    """The last ``tail`` lines (None: all), then new ones while ``is_running`` (None: no follow)."""
    current = _open(directory / "log")
    try:
        lines: deque[bytes] = deque(maxlen=tail)
        older = _open(directory / "log.1")
        if older is not None:
            with older:
                lines.extend(older)
        pending = b""
        if current is not None:
            lines.extend(current)
            # A line still being written is not a line yet.
            if is_running and lines and not lines[-1].endswith(b"\n"):
                pending = lines.pop()
        for raw in lines:
            yield parse_line(replica, raw.rstrip(b"\n"))
        while is_running is not None:
            is_last = not is_running()
            current = _reopen(current, directory / "log", pending)
            for raw in current or ():
                pending += raw
                if pending.endswith(b"\n"):
                    yield parse_line(replica, pending[:-1])
                    pending = b""
            if is_last:
                return
            sleep(_POLL_S)
    finally:
        if current is not None:
            current.close()


def _open(path: Path) -> BinaryIO | None:
    try:
        return path.open("rb")
    except FileNotFoundError:
        return None


def _reopen(current: BinaryIO | None, path: Path, pending: bytes) -> BinaryIO | None:
    """The file to go on reading: the same, or the new one after a rotation once the old is read."""
    if current is None:
        return _open(path)
    at_end = os.fstat(current.fileno()).st_size <= current.tell()
    with suppress(FileNotFoundError):
        if at_end and path.stat().st_ino != os.fstat(current.fileno()).st_ino:
            current.close()
            return _open(path)
    return current


def run_beside(
    replica: str,
    app: ProcessId,
    work: Path,
    command: Sequence[str],
    timeout: timedelta,
    limit: int | None = None,
) -> ExecResult:
    """Run a command in the replica's directory and with its environment. ProviderError when it
    cannot be started or does not end in time (it is killed then, with all it started)."""
    environment = read_environ(app.pid)
    if not is_alive(app) or not command:
        raise ProviderError(f"{replica} is not running, so nothing can be run in it")
    try:
        child = subprocess.Popen(
            list(command),
            cwd=work,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise ProviderError(f"{command[0]!r} cannot be run in {replica}: {error}") from None
    with child:
        try:
            output = _read_all(child, timeout.total_seconds(), limit)
        except subprocess.TimeoutExpired:
            # The leader is our unreaped child, so its group number cannot be a stranger's.
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            raise ProviderError(
                f"{command[0]!r} in {replica} did not end within {timeout.total_seconds():g}s"
            ) from None
        except BaseException:
            os.killpg(child.pid, signal.SIGKILL)
            raise
    code = child.returncode
    return ExecResult(code if code >= 0 else 128 - code, output)


def _read_all(child: subprocess.Popen[bytes], timeout_s: float, limit: int | None) -> bytes:
    """What it prints until it has ended and nobody can print any more; TimeoutExpired where that
    takes longer. What is over the limit is read and dropped."""
    assert child.stdout is not None
    deadline, kept, size = monotonic_s() + timeout_s, list[bytes](), 0
    poll = select.poll()
    poll.register(child.stdout, select.POLLIN | select.POLLHUP)
    while True:
        left = deadline - monotonic_s()
        if left <= 0 or not poll.poll(left * 1000):
            raise subprocess.TimeoutExpired(child.args, timeout_s)
        chunk = os.read(child.stdout.fileno(), _CHUNK)
        if not chunk:
            break
        if limit is None or size < limit:
            kept.append(chunk)
            size += len(chunk)
    child.wait(max(0.0, deadline - monotonic_s()))
    return b"".join(kept)[:limit]
