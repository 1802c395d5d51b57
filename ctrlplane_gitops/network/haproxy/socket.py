"""HAProxy's command socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from pathlib import Path

from ctrlplane_gitops.clock import monotonic_s, sleep
from ctrlplane_gitops.errors import ProviderError, UnreachableError
from ctrlplane_gitops.network.haproxy.place import Place
from ctrlplane_gitops.network.haproxy.read import (
    Master,
    Running,
    parse_field,
    parse_map,
    parse_master,
    parse_servers,
)
from ctrlplane_gitops.network.haproxy.render import loaded_set
from ctrlplane_gitops.value import struct

_TIMEOUT_S = 10.0
_RELOAD_S = 0.3
# HAProxy takes a command and its payload in one buffer of 16 KiB.
_PAYLOAD_BYTES = 8 * 1024
_VERSION = "New version created: "


@struct
class CommandSocket:
    """The sockets of a router. ``worker`` is the pid of a process that a reload left to finish its
    requests: it is spoken to through the master."""

    place: Place
    worker: str = ""

    def ask(self, command: str) -> str:
        """The answer; UnreachableError when nobody gives one. While it is reloaded, nobody does
        for a moment."""
        if self.worker:
            return self._ask_long(f"@!{self.worker} {command}", self.place.master)
        return self._ask_long(command, self.place.socket)

    def read_master(self) -> Master:
        """Of the process before them all; UnreachableError when it does not answer."""
        found = parse_master(self._ask_long("show proc", self.place.master))
        if found is None:
            raise UnreachableError(f"{self.place.master} is not the socket of a master process")
        return found

    def order_reload(self) -> str:
        """By the master itself, once. Its answer, which older ones do not give: their socket goes
        with it."""
        return self._ask_long("reload", self.place.master, is_ended_by_it=True)

    def order(self, command: str, expected: tuple[str, ...] = ("",)) -> str:
        """For a command that is answered with nothing, or something that begins as expected;
        ProviderError with its words otherwise."""
        answer = self.ask(command).strip()
        if not any(answer == word or (word and answer.startswith(word)) for word in expected):
            first = command.partition("\n")[0]
            raise ProviderError(f"the router refused {first!r}: {answer[:200]}", is_retryable=True)
        return answer

    def read(self) -> Running:
        """Everything it does for us now."""
        digest, servers = parse_servers(self.place.plane, self.ask("show servers state"))
        if not digest:
            return Running("", {}, {}, {})
        return Running(
            digest, self.read_map(self.place.routes), self.read_map(self.place.state), servers
        )

    def read_digest(self) -> str:
        """Of the shape it was loaded with; empty when it has nothing of ours."""
        plane = self.place.plane
        return parse_servers(plane, self.ask(f"show servers state {loaded_set(plane)}"))[0]

    def read_map(self, path: Path) -> dict[str, str]:
        return parse_map(self.ask(f"show map {path}"))

    def replace_map(self, path: Path, lines: Mapping[str, str]) -> None:
        """The whole map at once: requests meet the old one or the new one."""
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
            return bool(parse_field(self.ask("show info"), "Pid"))
        except UnreachableError:
            return False

    def ask_all(self, command: str) -> list[str]:
        """The answers of the worker and of those that a reload left to finish their requests."""
        master = self.read_master()
        return [CommandSocket(self.place, pid).ask(command) for pid in master.workers + master.old]

    def find_old(self) -> list[CommandSocket]:
        """Those that a reload left to finish their requests."""
        return [CommandSocket(self.place, pid) for pid in self.read_master().old]

    def _ask_long(self, command: str, path: Path, *, is_ended_by_it: bool = False) -> str:
        deadline = monotonic_s() + _RELOAD_S
        while True:
            try:
                return _converse(command, path, is_ended_by_it=is_ended_by_it)
            except (ConnectionError, FileNotFoundError) as error:
                if monotonic_s() > deadline:
                    raise self._unreachable(error, path) from None
                sleep(0.02)
            except OSError as error:
                raise self._unreachable(error, path) from None

    def _unreachable(self, error: OSError, path: Path) -> UnreachableError:
        reason = (error.strerror or type(error).__name__).lower()
        if self.place.is_whole:
            return UnreachableError(f"the router does not answer: {reason}")
        is_master = path == self.place.master
        start = f"-W -S {path}" if is_master else f"`stats socket {path} level admin`"
        return UnreachableError(
            f"your HAProxy does not answer at {path}: {reason};"
            f" check that it runs with {start}, and that this user may open the socket"
        )


def _converse(command: str, path: Path, *, is_ended_by_it: bool) -> str:
    # By the open directory: a socket's path has at most 107 bytes.
    handle = os.open(path.parent, os.O_PATH | os.O_CLOEXEC)
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_TIMEOUT_S)
            connection.connect(f"/proc/self/fd/{handle}/{path.name}")
            connection.sendall(f"{command}\n".encode())
            chunks = []
            with suppress(OSError) if is_ended_by_it else nullcontext():
                connection.shutdown(socket.SHUT_WR)
                while chunk := connection.recv(1 << 16):
                    chunks.append(chunk)
    finally:
        os.close(handle)
    return b"".join(chunks).decode("utf-8", "replace")
