"""A command in a container, its streams over a channel."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.kubernetes import channel as streams
from tests.kubernetes.channel import Channel

# Arguments, environment, folder.
Prepared = tuple[Sequence[str], Mapping[str, str], Path]
_SUCCESS = {"metadata": {}, "status": "Success"}


class Session:
    """``prepare`` says what is run, or raises OSError. ``asked`` names the streams."""

    def __init__(
        self,
        channel: Channel,
        prepare: Callable[[], Prepared],
        asked: Mapping[str, bool],
    ) -> None:
        self._channel, self._prepare, self._asked = channel, prepare, asked

    def run(self) -> None:
        """To the end of the command, or of who asked for it."""
        try:
            process, readers = self._start()
        except OSError as failed:
            self._finish(_refused(str(failed)))
            return
        waiter = threading.Thread(target=self._await, args=(process, readers))
        waiter.start()
        try:
            while (message := self._channel.receive()) is not None:
                self._take(process, *message)
        except OSError:
            pass
        if process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        waiter.join()

    def _start(self) -> tuple[subprocess.Popen[bytes], list[threading.Thread]]:
        arguments, environ, folder = self._prepare()
        is_terminal = self._asked["tty"]
        pipe: Any = subprocess.PIPE
        master = None
        if is_terminal:
            master, pipe = pty.openpty()
        process = subprocess.Popen(
            arguments,
            env=dict(environ),
            cwd=folder,
            stdin=pipe if self._asked["stdin"] or is_terminal else subprocess.DEVNULL,
            stdout=pipe,
            stderr=pipe,
            start_new_session=True,
        )
        if master is not None:
            os.close(pipe)
            process.stdin = os.fdopen(os.dup(master), "wb", buffering=0)
            sources = [(streams.STDOUT, os.fdopen(master, "rb", buffering=0))]
        else:
            assert process.stdout and process.stderr
            sources = [(streams.STDOUT, process.stdout), (streams.STDERR, process.stderr)]
        readers = [threading.Thread(target=self._pass_on, args=source) for source in sources]
        for reader in readers:
            reader.start()
        return process, readers

    def _pass_on(self, stream: int, source: Any) -> None:
        with suppress(OSError, ValueError), source:
            while data := os.read(source.fileno(), 1 << 15):
                self._channel.send(stream, data)

    def _take(self, process: subprocess.Popen[bytes], stream: int, data: bytes) -> None:
        if process.stdin is None:
            return
        with suppress(OSError, ValueError):
            if stream == streams.STDIN and data:
                process.stdin.write(data)
                process.stdin.flush()
            elif stream == streams.CLOSE and data[:1] == bytes([streams.STDIN]):
                process.stdin.close()

    def _await(self, process: subprocess.Popen[bytes], readers: Sequence[threading.Thread]) -> None:
        code = process.wait()
        for reader in readers:
            reader.join()
        self._finish(_ended(code if code >= 0 else 128 - code))
        if process.stdin is not None:
            with suppress(OSError, ValueError):
                process.stdin.close()

    def _finish(self, status: Mapping[str, Any]) -> None:
        with suppress(OSError, ValueError):
            self._channel.send(streams.STATUS, json.dumps(status).encode())
            self._channel.close()


def _ended(code: int) -> dict[str, Any]:
    if code == 0:
        return _SUCCESS
    return {
        "metadata": {},
        "status": "Failure",
        "reason": "NonZeroExitCode",
        "message": f"command terminated with non-zero exit code: exit status {code}",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }


def _refused(text: str) -> dict[str, Any]:
    """The command could not be started at all: there is no exit code."""
    return {
        "metadata": {},
        "status": "Failure",
        "reason": "InternalError",
        "message": f"error executing command in container: failed to exec in container: {text}",
        "code": 500,
    }
