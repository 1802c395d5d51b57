"""An HTTPS server in front of the API server: it counts what is asked, and answers some of it
itself. Everything else is the real server's answer."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ctrlplane_gitops.clock import monotonic_s, sleep
from tests.engines.kubernetes import write_kubeconfig
from tests.http.thread import served
from tests.kubernetes.client import Access, Client
from tests.kubernetes.lens import Handler, Server
from tests.kubernetes.rig import Rig


@dataclass(slots=True)
class Asked:
    """``path`` names what is to be made as well; ``who`` is the name by which they logged in,
    ``at`` when they came, in seconds; ``status`` 0: there was no answer."""

    method: str
    path: str
    who: str
    at: float
    status: int = 0


@dataclass(slots=True)
class Rule:
    """For requests of ``method`` (None: any) whose path has ``part``, the first ``times`` of them:
    ``before`` happens, ``delay_s`` passes, and then ``status`` is answered (None: what the real
    server says). ``is_done``: the real server is asked all the same."""

    part: str
    method: str | None = None
    times: int = 1
    status: int | None = None
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    before: Callable[[], object] | None = None
    delay_s: float = 0.0
    is_done: bool = False
    seen: int = 0

    def fits(self, method: str, path: str) -> bool:
        return self.seen < self.times and self.part in path and self.method in (None, method)


def busy(part: str, method: str | None = None, *, times: int = 1, after: str = "0") -> Rule:
    """As an API server answers that has too much to do."""
    body = {"kind": "Status", "reason": "TooManyRequests", "message": "Too many requests"}
    return Rule(part, method, times, 429, body, {"Retry-After": after})


class Front:
    """``kubeconfig`` leads to it; who asks it has the rights of ``client``."""

    def __init__(self, rig: Rig, client: Client, folder: Path) -> None:
        self._server = FrontServer(client)
        certificate, key = rig.issue_server("front")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        address = f"https://127.0.0.1:{self._server.server_address[1]}"
        self._folder = folder
        self._access = Access(address, rig.access.authority)
        self.kubeconfig = self.login("anybody")

    def login(self, name: str) -> Path:
        """A kubeconfig of somebody who is told apart by that name."""
        access = replace(self._access, token=name)
        return write_kubeconfig(access, self._folder / f"{name}.kubeconfig")

    @property
    def rules(self) -> list[Rule]:
        """The first that fits is taken."""
        return self._server.rules

    @property
    def asked(self) -> list[Asked]:
        return list(self._server.asked)

    def writes(self) -> list[str]:
        """What was asked for besides looking."""
        return [f"{it.method} {it.path}" for it in self.asked if it.method != "GET"]

    def find(self, method: str, end: str) -> list[Asked]:
        """Those whose path ends so."""
        return [it for it in self.asked if it.method == method and it.path.endswith(end)]

    def reconnect(self) -> None:
        """What was kept open to a server that has restarted is of no use."""
        self._server.client.close()

    def forget(self) -> None:
        self._server.asked.clear()


class FrontServer(Server):
    def __init__(self, client: Client) -> None:
        self.rules: list[Rule] = []
        self.asked: list[Asked] = []
        self._turns = threading.Lock()
        super().__init__(client, _FrontHandler)

    def note(self, method: str, path: str, who: str) -> tuple[Asked, Rule | None]:
        asked = Asked(method, path, who, monotonic_s())
        with self._turns:
            self.asked.append(asked)
            rule = next((it for it in self.rules if it.fits(method, path)), None)
            if rule is not None:
                rule.seen += 1
        return asked, rule


class _FrontHandler(Handler):
    server: FrontServer
    passed_on = ("Content-Type", "User-Agent", "Accept")

    def pass_on(self, body: bytes) -> None:
        who = self.headers.get("Authorization", "").removeprefix("Bearer ")
        path = self.path.partition("?")[0]
        if self.command == "POST":
            path += f"/{json.loads(body)['metadata']['name']}"
        self._asked, self._rule = self.server.note(self.command, path, who)
        rule = self._rule
        if rule is not None and rule.before is not None:
            rule.before()
        if rule is not None and rule.delay_s:
            sleep(rule.delay_s)
        if rule is None or rule.status is None or rule.is_done:
            super().pass_on(body)
        else:
            self._say(rule)

    def pass_back(self, answer: Any) -> None:
        rule = self._rule
        if rule is not None and rule.is_done:
            answer.read()
            self._say(rule)
            return
        self._asked.status = answer.status
        super().pass_back(answer)

    def _say(self, rule: Rule) -> None:
        assert rule.status is not None
        self._asked.status = rule.status
        self.say(rule.status, json.dumps(rule.body).encode(), rule.headers)


@contextmanager
def front(rig: Rig, client: Client, folder: Path) -> Iterator[Front]:
    place = Front(rig, client, folder)
    server = place._server
    with served(server):
        yield place
    server.server_close()
