"""An application over the board of ``tests/status/board_kit.py``, for whoever a test says asks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from flask import Flask
from flask.testing import FlaskClient

from ctrlplane_gitops.api.application import Views, build_application
from ctrlplane_gitops.api.guard import Access
from ctrlplane_gitops.api.hook import Receiver
from ctrlplane_gitops.api.page import PageViews, SourceView
from ctrlplane_gitops.auth.tokens import digest_of, new_token
from ctrlplane_gitops.clock import FakeClock
from ctrlplane_gitops.state.access import AccessToken, Role
from ctrlplane_gitops.state.delivery import DeliveryRecord
from ctrlplane_gitops.status.view import StatusDocument
from tests.status.board_kit import NOW, Seen


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
