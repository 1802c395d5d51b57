"""HAProxy's command socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path

from ctrlplane_gitops.clock import monotonic_s, sleep
from ctrlplane_gitops.errors import ProviderError, UnreachableError
from ctrlplane_gitops.network.haproxy.read import (
    Running,
    parse_digest,
    parse_map,
    parse_servers,
)
from ctrlplane_gitops.network.haproxy.render import MASTER, ROUTES, SOCKET, STATE
from ctrlplane_gitops.value import struct

_TIMEOUT_S = 10.0
_RELOAD_S = 0.3
# HAProxy takes a command and its payload in one buffer of 16 KiB.
_PAYLOAD_BYTES = 8 * 1024
_VERSION = "New version created: "


@struct
class CommandSocket:
    """The sockets of the router in ``directory``. ``worker`` is the pid of a process that a
    reload left to finish its requests: it is spoken to through the master."""

    directory: Path
    worker: str = ""

    def ask(self, command: str, name: str = SOCKET) -> str:
        """The answer; UnreachableError when nobody gives one. While it is reloaded, nobody does
        for a moment."""
        deadline = monotonic_s() + _RELOAD_S
        while True:
            try:
                if self.worker:
                    return self._ask(f"@!{self.worker} {command}", MASTER)
                return self._ask(command, name)
            except (ConnectionError, FileNotFoundError) as error:
                if monotonic_s() > deadline:
                    raise _unreachable(error) from None
                sleep(0.02)
            except OSError as error:
                raise _unreachable(error) from None

    def _ask(self, command: str, name: str) -> str:
        # By the open directory: a socket's path has at most 107 bytes.
        handle = os.open(self.directory, os.O_PATH | os.O_CLOEXEC)
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(_TIMEOUT_S)
                connection.connect(f"/proc/self/fd/{handle}/{name}")
                connection.sendall(f"{command}\n".encode())
                connection.shutdown(socket.SHUT_WR)
                chunks = []
                while chunk := connection.recv(1 << 16):
                    chunks.append(chunk)
        finally:
            os.close(handle)
        return b"".join(chunks).decode("utf-8", "replace")

    def order(self, command: str, expected: tuple[str, ...] = ("",)) -> str:
        """For a command that is answered with nothing, or something that begins as expected;
        ProviderError with its words otherwise."""
        answer = self.ask(command).strip()
        if not any(answer == word or (word and answer.startswith(word)) for word in expected):
            first = command.partition("\n")[0]
            raise ProviderError(f"the router refused {first!r}: {answer[:200]}", is_retryable=True)
        return answer

    def read(self) -> Running:
        """Everything it does now."""
        return Running(
            parse_digest(self.ask("show info")),
            self.read_map(ROUTES),
            self.read_map(STATE),
            parse_servers(self.ask("show servers state")),
        )

    def read_map(self, name: str) -> dict[str, str]:
        return parse_map(self.ask(f"show map {self.directory / name}"))

    def replace_map(self, name: str, lines: Mapping[str, str]) -> None:
        """The whole map at once: requests meet the old one or the new one."""
        path = self.directory / name
        version = self.order(f"prepare map {path}", (_VERSION,)).removeprefix(_VERSION)
        payload = ""
        for key, value in [*sorted(lines.items()), ("", "")]:
            line = f"{key} {value}\n"
            if payload and (not key or len(payload) + len(line) > _PAYLOAD_BYTES):
                self.order(f"add map @{version} {path} <<\n{payload}")
                payload = ""
            payload += line
        self.order(f"commit map @{version} {path}")

    def is_there(self) -> bool:
        """Whether that process has not ended: the master answers for one that has."""
        try:
            return "\nPid: " in self.ask("show info")
        except UnreachableError:
            return False

    def ask_all(self, command: str) -> list[str]:
        """The answers of the worker and of those that a reload left to finish their requests."""
        return [it.ask(command) for it in self._find("# workers")]

    def find_old(self) -> list[CommandSocket]:
        """Those that a reload left to finish their requests."""
        return self._find("# old workers")

    def _find(self, first: str) -> list[CommandSocket]:
        listed = self.ask("show proc", MASTER).partition(first)[2].partition("# programs")[0]
        pids = [line.split()[0] for line in listed.splitlines() if line[:1].isdigit()]
        return [CommandSocket(self.directory, pid) for pid in pids]


def _unreachable(error: OSError) -> UnreachableError:
    reason = (error.strerror or type(error).__name__).lower()
    return UnreachableError(f"the router does not answer: {reason}")
