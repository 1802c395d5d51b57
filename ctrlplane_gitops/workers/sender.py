"""Messages on their way: a line per subscription, so that nobody waits for somebody else's
receiver."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from ctrlplane_gitops.clock import Clock
from ctrlplane_gitops.errors import CtrlplaneError, SecretError
from ctrlplane_gitops.events.attempt import (
    Circuit,
    after_attempt,
    break_off,
    judge,
    read_retry_after,
)
from ctrlplane_gitops.events.cloudevent import build_headers
from ctrlplane_gitops.execute.pool import Begun
from ctrlplane_gitops.http.fetch import FetchError, Reply, post
from ctrlplane_gitops.http.webhook import MIN_KEY_BYTES, PREFIX, decode_key
from ctrlplane_gitops.redact import SecretValue
from ctrlplane_gitops.secrets.base import SecretBackend
from ctrlplane_gitops.state.desired import Notification, SecretRef
from ctrlplane_gitops.state.notification import Attempt, Closed, Message, MessageState
from ctrlplane_gitops.store.base import Store
from ctrlplane_gitops.value import record, struct

TIMEOUT = timedelta(seconds=10)
# Longer than an attempt can take: whoever has not come back by then never will.
CLAIM = timedelta(minutes=2)
_SCHEMES = ("http://", "https://")

Post = Callable[[str, bytes, Mapping[str, str], timedelta], Reply]


@struct
class Outlet:
    """The control plane ``plane`` as far as somebody is told of it. ``start`` is the number of the
    last event before this process had any part in it."""

    plane: str
    subscriptions: tuple[Notification, ...]
    store: Store
    backends: Mapping[str, SecretBackend]
    start: int = 0


@record
class _Line:
    """``error`` is what is wrong with the receiver now, "" where nothing is."""

    circuit: Circuit
    is_busy: bool = False
    error: str = ""


class Sender:
    """Sends what is due, a subscription's messages one after the other, all subscriptions at the
    same time: so there are never more requests than subscriptions.

    ``on_idle`` is called when a line has come to its end, ``on_attempt`` after every attempt with
    the subscription and what came of it. ``begin`` starts a call beside the caller's."""

    def __init__(
        self,
        clock: Clock,
        cancel: threading.Event,
        on_idle: Callable[[], None],
        on_attempt: Callable[[str, Attempt], None] = lambda subscription, attempt: None,
        post: Post = post,
        begin: Callable[[Callable[[], None]], object] = Begun,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._clock = clock
        self._cancel = cancel
        self._on_idle = on_idle
        self._on_attempt = on_attempt
        self._post = post
        self._begin = begin
        self._chance = chance
        self._lines: dict[str, _Line] = {}

    def send_due(self, outlet: Outlet) -> datetime | None:
        """Start the lines of those for whom something is due; when something will be, of the
        others. Returns at once."""
        due, now = outlet.store.outbox.find_due(), self._clock.now()
        later: list[datetime] = []
        for item in outlet.subscriptions:
            at = due.get(item.name)
            line = self._lines.setdefault(item.name, _Line(Circuit()))
            if at is None or line.is_busy or self._cancel.is_set():
                continue
            at = max(at, line.circuit.until or at)
            if at > now:
                later.append(at)
                continue
            line.is_busy = True
            self._start(outlet, item, line)
        return min(later, default=None)

    def errors(self) -> tuple[str, ...]:
        """Who cannot be told of anything at present, and why."""
        return tuple(
            f"{name}: {line.error}" for name, line in sorted(self._lines.items()) if line.error
        )

    def forget(self, subscription: str) -> None:
        """It is no longer there, or was closed."""
        line = self._lines.get(subscription)
        if line is not None:
            line.error, line.circuit = "", Circuit()

    def target_of(self, outlet: Outlet, subscription: Notification) -> str:
        """A digest of where its messages go; SecretError when that is not known."""
        return _digest(_read_url(outlet, subscription), subscription.name)

    def _start(self, outlet: Outlet, subscription: Notification, line: _Line) -> None:
        def run() -> None:
            try:
                while self._send_next(outlet, subscription, line):
                    pass
            except CtrlplaneError as error:
                self._leave_alone(line, error.message)
            except Exception as bug:
                # Its message may show what must not be shown.
                self._leave_alone(line, f"a bug: unexpected {type(bug).__name__}")
            finally:
                line.is_busy = False
                self._on_idle()

        self._begin(run)

    def _send_next(self, outlet: Outlet, subscription: Notification, line: _Line) -> bool:
        """The next message that is due, if there is any; whether to go on with another."""
        now, box = self._clock.now(), outlet.store.outbox
        if self._cancel.is_set() or line.circuit.is_open(now):
            return False
        url, key = _read_url(outlet, subscription), _read_key(outlet, subscription)
        message = box.claim(subscription.name, now, now + CLAIM)
        if message is None:
            return False
        attempt, asked = self._attempt(message, url, key, subscription.headers)
        ended = self._clock.now()
        box.end_attempt(message.id, attempt, ended)
        self._on_attempt(subscription.name, attempt)
        if attempt.is_gone:
            closed = Closed(subscription.name, _digest(url, subscription.name), ended)
            box.close_subscription(closed)
            box.give_up(subscription.name, "the receiver wants no more (410)", ended)
            self.forget(subscription.name)
            return False
        line.error = "" if attempt.state is MessageState.DELIVERED else attempt.error
        line.circuit = after_attempt(line.circuit, attempt, ended, self._chance(), asked)
        return True

    def _attempt(
        self, message: Message, url: str, key: bytes, given: Mapping[str, str]
    ) -> tuple[Attempt, timedelta | None]:
        """Send it once; what came of it, and how long the receiver wants to be left alone."""
        body, now = message.body.encode(), self._clock.now()
        headers = build_headers(message.id, body, key, now, given)
        try:
            reply = self._post(url, body, headers, TIMEOUT)
        except FetchError as failure:
            error, status, asked = str(failure), None, None
        else:
            error, status = "", reply.status
            asked = read_retry_after(reply.headers.get("retry-after"), self._clock.now())
        ended = self._clock.now()
        return judge(status, error, message.attempts, ended, self._chance(), asked), asked

    def _leave_alone(self, line: _Line, error: str) -> None:
        line.error = error
        line.circuit = break_off(line.circuit, self._clock.now(), self._chance())


def _digest(url: str, name: str) -> str:
    return SecretValue(url.encode()).digest(name)


def _read_url(outlet: Outlet, subscription: Notification) -> str:
    if subscription.url_ref is None:
        return subscription.url
    value = _resolve(outlet, subscription.url_ref).reveal().decode("utf-8", "replace").strip()
    if not value.startswith(_SCHEMES) or not value.isascii() or not value.isprintable():
        raise SecretError(f"the value of {subscription.url_ref.locator} is no http or https URL")
    return value


def _read_key(outlet: Outlet, subscription: Notification) -> bytes:
    ref = subscription.secret
    try:
        key = decode_key(_resolve(outlet, ref).reveal().strip())
    except ValueError:
        key = b""
    if len(key) < MIN_KEY_BYTES:
        raise SecretError(
            f"the value of {ref.locator} is no key of Standard Webhooks: {PREFIX} and at least "
            f"{MIN_KEY_BYTES} bytes in base64",
            hint=f'make one with: echo "{PREFIX}$(openssl rand -base64 32)"',
        )
    return key


def _resolve(outlet: Outlet, ref: SecretRef) -> SecretValue:
    return outlet.backends[ref.backend].resolve(ref)
