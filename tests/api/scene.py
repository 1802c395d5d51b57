"""An application over the board of ``tests/status/board_kit.py``, for whoever a test says asks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from flask import Flask
from flask.testing import FlaskClient

from ctrlplane_gitops.api.action import Actions, CheckRow, ExecRow, LogRow, Told
from ctrlplane_gitops.api.application import Views, build_application
from ctrlplane_gitops.api.guard import Access, not_found
from ctrlplane_gitops.api.hook import Receiver
from ctrlplane_gitops.api.page import PageViews, SourceView
from ctrlplane_gitops.auth.tokens import digest_of, new_token
from ctrlplane_gitops.clock import FakeClock
from ctrlplane_gitops.state.access import AccessToken, Role
from ctrlplane_gitops.state.delivery import DeliveryRecord
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.status.view import StatusDocument
from tests.status.board_kit import DB, NOW, OTHER, WEB, Seen


class Printing:
    """Lines that come one at a time."""

    def __init__(self, lines: list[LogRow]) -> None:
        self._lines, self.is_closed = lines, False

    def take(self) -> list[LogRow] | None:
        return [self._lines.pop(0)] if self._lines else None

    def close(self) -> None:
        self.is_closed = True


class Asked:
    """``calls`` are the actions that were asked for. Of the instances the specs have; each answers
    as if it were done."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.error: Exception | None = None
        self.actions = Actions(
            steer=lambda actor, key, steer: self._take(actor, steer.name, key),
            roll_back=lambda actor, key, to, clear: self._take(actor, "rollback", key, to, clear),
            reconcile=lambda actor, tenant: self._take(actor, "reconcile", None, tenant),
            run_check=self._check,
            execute=self._execute,
            read_logs=self._read_logs,
            follow_logs=lambda key, index, tail: Printing(self._read_logs(key, index, tail)),
            run_worker=self._run_worker,
        )

    def _take(self, actor: str, what: str, key: ResourceKey | None, *rest: Any) -> Told:
        if self.error is not None:
            raise self.error
        if key is not None and key not in (WEB, DB, OTHER):
            raise not_found()
        self.calls.append((actor, what, key.address if key else "", *rest))
        return Told(key.address if key else "", what)

    def _check(self, actor: str, key: ResourceKey) -> CheckRow:
        return CheckRow(self._take(actor, "run-check", key).address, NOW, ())

    def _execute(
        self, actor: str, key: ResourceKey, command: Any, index: int | None, timeout: timedelta
    ) -> ExecRow:
        self._take(actor, "exec", key, list(command), index, timeout)
        return ExecRow("web.v2.0", 7, "out", False)

    def _read_logs(self, key: ResourceKey, index: int | None, tail: int) -> list[LogRow]:
        self._take("", "logs", key, index, tail)
        return [LogRow("web.v2.0", "stdout", NOW, "hello"), LogRow("web.v2.1", "log", None, "")]

    def _run_worker(self, actor: str, name: str) -> Told:
        if name != "reconciler":
            raise not_found()
        return self._take(actor, "run", None, name)


class Scene:
    """``tokens`` are those Git declares, None: it is not known. ``is_open``: on loopback."""

    def __init__(self) -> None:
        self.seen = Seen()
        self.clock = FakeClock(NOW)
        self.reason = ""
        self.error: Exception | None = None
        self.bugs: list[Exception] = []
        self.tokens: tuple[AccessToken, ...] | None = ()
        self.is_open = True
        self.receiver: Receiver | None = None
        self.source = SourceView()
        self.logs: list[str] = []
        self.read_logs: Callable[[object], Sequence[str]] = lambda key: self.logs
        self.deliveries: list[DeliveryRecord] = []
        self.stop = threading.Event()
        self.asked = Asked()

    def declare(
        self, role: Role = Role.ADMIN, *tenants: str, expires_in: timedelta | None = None
    ) -> str:
        """The text of a token that is declared from now on."""
        text = new_token()
        expires_at = None if expires_in is None else self.clock.now() + expires_in
        scope = frozenset(tenants) or None
        known = self.tokens or ()
        made = AccessToken(f"t{len(known)}", digest_of(text), role, scope, expires_at)
        self.tokens = (*known, made)
        return text

    def build(self, hosts: tuple[str, ...] = ()) -> Flask:
        views = Views(
            board=self.seen.board,
            pages=self.build_pages(),
            actions=self.asked.actions,
            stop=self.stop,
            read_status=self._read_status,
            find_unready=lambda: self.reason,
            render_metrics=lambda: b"up 1\\n",
            on_bug=self.bugs.append,
            receiver=self.receiver,
        )
        access = Access(lambda: self.tokens, self.is_open, self.clock)
        return build_application(views, access, hosts)

    def build_pages(self) -> PageViews:
        return PageViews(
            read_plane=lambda: "prod",
            read_source=lambda: self.source,
            read_logs=lambda key: self.read_logs(key),
            read_health=lambda key: None,
            read_telemetry=lambda key: None,
            read_deliveries=lambda before, limit: self.deliveries[:limit],
            now=self.clock.now,
        )

    def client(self, hosts: tuple[str, ...] = ()) -> FlaskClient:
        return self.build(hosts).test_client()

    def _read_status(self) -> StatusDocument:
        if self.error is not None:
            raise self.error
        assert self.seen.live is not None
        return self.seen.live.document


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def check_problem(answer: Any, status: int, code: str) -> dict[str, Any]:
    """It is a problem document with this status and code."""
    assert answer.status_code == status, answer.get_data(as_text=True)
    assert answer.headers["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = answer.get_json()
    assert body.keys() == {"type", "title", "status", "detail", "code"}
    assert (body["status"], body["code"]) == (status, code)
    return body
