"""A notifier on a clock that only moves when told to, and what it sends through a real socket."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from ctrlplane_gitops.clock import FakeClock
from ctrlplane_gitops.events.event import EventType, make_event
from ctrlplane_gitops.http.fetch import Reply, post
from ctrlplane_gitops.secrets.registry import build_backends
from ctrlplane_gitops.state.desired import Notification, SecretRef
from ctrlplane_gitops.state.key import Kind, ResourceKey
from ctrlplane_gitops.state.notification import Attempt, Message, MessageState
from ctrlplane_gitops.state.recorded import RecordBatch
from ctrlplane_gitops.store.base import Store
from ctrlplane_gitops.store.outbox import MessageFilter
from ctrlplane_gitops.workers.notifier import Notifier
from ctrlplane_gitops.workers.sender import Outlet, Sender
from tests.http.receiver import SECRET

START = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
WEB = "instance/acme/web"
PLANE = ResourceKey(Kind.CONTROL_PLANE, "", "prod")
TTL = timedelta(days=365)


def env(name: str) -> SecretRef:
    return SecretRef(PLANE, "env", name)


def subscription(
    url: str, name: str = "ops", *events: str, url_ref: SecretRef | None = None,
    headers: Mapping[str, str] | None = None,
) -> Notification:  # fmt: skip
    return Notification(
        name, events or ("*",), env("OPS_SECRET"), url, url_ref, headers=headers or {}
    )


def call_now(call: Callable[[], None]) -> None:
    call()


class Scene:
    """Without threads of its own unless ``begin`` starts them. No wait is left to chance."""

    def __init__(
        self,
        store: Store,
        *subscriptions: Notification,
        clock: FakeClock | None = None,
        begin: Callable[[Callable[[], None]], object] = call_now,
        post: Callable[[str, bytes, Mapping[str, str], timedelta], Reply] = post,
    ) -> None:
        self.store = store
        self.subscriptions = subscriptions
        self.start = store.last_event()
        self.clock = clock or FakeClock(START)
        self.environ = {"OPS_SECRET": SECRET}
        self.cancel, self.idle = threading.Event(), threading.Semaphore(0)
        self.attempts: list[tuple[str, Attempt]] = []
        self.sender = Sender(
            self.clock,
            self.cancel,
            self.idle.release,
            lambda name, attempt: self.attempts.append((name, attempt)),
            post,
            begin,
            lambda: 0,
        )
        self.notifier = Notifier(self._open, self.sender, self.clock)
        self.error = ""

    def _open(self) -> Outlet:
        backends = build_backends(self.environ, None)
        return Outlet("prod", self.subscriptions, self.store, backends, self.start)

    def tell(self, type: EventType, address: str = WEB, text: str = "", **data: str) -> None:
        """Somebody writes an event."""
        fence = self.store.acquire("apply", "us", TTL, self.clock.now())
        assert fence is not None
        event = make_event(type, self.clock.now(), address, text or type.value, data)
        self.store.record(RecordBatch(events=(event,)), fence)

    def turn(self, after: timedelta = timedelta()) -> timedelta:
        """A run of the worker, so much later; how soon it wants the next."""
        self.clock.advance(after)
        ran = self.notifier.run()
        self.error = ran.error
        assert ran.after is not None
        return ran.after

    def messages(self, state: MessageState | None = None) -> list[Message]:
        """Oldest first."""
        return list(reversed(self.store.outbox.read_messages(MessageFilter(state=state))))

    def states(self) -> list[tuple[str, int, int | None]]:
        return [(item.state.value, item.attempts, item.status) for item in self.messages()]
