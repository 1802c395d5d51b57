"""Webhooks as every sender sends them, to a receiver with a ledger of its own."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from itertools import count
from typing import Any

from flask import Flask

from ctrlplane_gitops.api.hook import answer_posts
from ctrlplane_gitops.api.lane import Lane
from ctrlplane_gitops.api.server import Server, bind
from ctrlplane_gitops.clock import SystemClock
from ctrlplane_gitops.source.hook.served import Served
from ctrlplane_gitops.source.webhook import SENDERS as NAMES
from ctrlplane_gitops.state.delivery import DeliveryRecord
from ctrlplane_gitops.store.base import Store
from ctrlplane_gitops.store.delivery import DeliveryFilter
from ctrlplane_gitops.store.memory import MemoryStore
from ctrlplane_gitops.workers.ledger import Ledger
from ctrlplane_gitops.workers.receiver import Receiver
from tests.api.scene import Scene
from tests.source.hooks import AFTER, BEFORE, KEY, SECRET, SENDERS, Headers, standard

MAIN, URL = "refs/heads/main", "https://git.example.com/acme/prod.git"
SECRETS = dict.fromkeys(NAMES, (SECRET, KEY))
_IDS = count(1)
# Headers that carry the id of a delivery.
_ID_HEADERS = (
    "X-GitHub-Delivery", "X-Gitea-Delivery", "X-Forgejo-Delivery", "X-Request-UUID",
    "Idempotency-Key",
)  # fmt: skip


def push_body(ref: str = MAIN, after: str = AFTER, url: str = URL, given_id: str = "") -> bytes:
    """A push that each of the senders could have sent, another one each time."""
    given_id = given_id or f"id-{next(_IDS)}"
    folder, _, name = ref.removeprefix("refs/").partition("/")
    side = {
        "type": "tag" if folder == "tags" else "branch",
        "name": name,
        "target": {"hash": after},
    }
    update = {"name": ref, "oldObjectId": BEFORE, "newObjectId": after}
    return json.dumps(
        {
            "id": given_id, "ref": ref, "before": BEFORE, "after": after,
            "repository": {
                "clone_url": url, "url": url, "links": {"html": {"href": url}},
            },
            "project": {"git_http_url": url},
            "push": {"changes": [{"old": side, "new": side}]},
            "eventType": "git.push",
            "resource": {"refUpdates": [update], "repository": {"remoteUrl": url}},
        }
    ).encode()  # fmt: skip


def signed(way: str, body: bytes, secret: str = "", given_id: str = "") -> Headers:
    """The headers of a delivery that is sent now; ``way`` is a key of ``SENDERS``."""
    _, sign, _, good, _ = SENDERS[way]
    given_id = given_id or f"given-{next(_IDS)}"
    headers = sign(body, secret or good)
    if sign is standard or "signed" in way:
        unsigned = [row for row in headers if not row[0].startswith("webhook-")]
        now = SystemClock().now()
        headers = [*unsigned, *standard(body, secret or good, now, given_id)[1:]]
    return [(name, given_id if name in _ID_HEADERS else value) for name, value in headers]


class Hooks:
    """A receiver that follows ``MAIN`` of ``URL``. ``woken`` counts looks that were asked for."""

    def __init__(
        self, store: Store | None = None, secrets: Mapping[str, Sequence[str]] = SECRETS
    ) -> None:
        self.woken = 0
        self.logged: list[str] = []
        self.scene = Scene()
        self.served = Served(URL, MAIN)
        self.store = MemoryStore() if store is None else store
        clock = SystemClock()
        self.ledger = Ledger(clock)
        self.ledger.open(self.store.deliveries)
        self.receiver = Receiver(
            {name: tuple(values) for name, values in secrets.items()},
            self.ledger,
            lambda: self.served,
            clock,
            self._wake,
            self.logged.append,
        )
        self.scene.receiver = self.receiver

    def _wake(self) -> None:
        self.woken += 1

    def build(self, hosts: tuple[str, ...] = ()) -> Flask:
        return self.scene.build(hosts)

    @property
    def bugs(self) -> list[Exception]:
        return self.scene.bugs

    def rows(self) -> Sequence[DeliveryRecord]:
        """Newest first."""
        self.ledger.flush(is_all=True)
        return self.store.deliveries.read(DeliveryFilter(), limit=100_000)


_HOSTS = ("127.0.0.1", "localhost")


@contextmanager
def running(hooks: Hooks, *, has_lane: bool = True) -> Iterator[int]:
    """Answering on the real server, with the lane that ``serve`` has; its port."""

    def make_lane(threads: int) -> Lane:
        return Lane(lambda posts: answer_posts(hooks.receiver, posts), _HOSTS, threads)

    listening = bind("127.0.0.1", 0)
    port = listening.getsockname()[1]
    server = Server(hooks.build(_HOSTS), listening, make_lane if has_lane else None)
    server.start()
    try:
        yield port
    finally:
        server.stop(timedelta(seconds=1))


def deliver(port: int, sender: str, headers: Headers, body: bytes) -> tuple[int, dict[str, Any]]:
    """Status and what was answered."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        connection.request("POST", f"/hooks/{sender}", body, dict(headers))
        with connection.getresponse() as answer:
            return answer.status, json.loads(answer.read())


def deliver_chunked(port: int, sender: str, headers: Headers, body: bytes) -> int | None:
    """The status; None where the connection was closed on who did not stop sending."""
    size = 65_536
    chunks = (body[at : at + size] for at in range(0, len(body), size))
    given = {**dict(headers), "Transfer-Encoding": "chunked"}
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        try:
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.request("POST", f"/hooks/{sender}", chunks, given, encode_chunked=True)
            with connection.getresponse() as answer:
                return answer.status
        except (ConnectionResetError, BrokenPipeError):
            return None
