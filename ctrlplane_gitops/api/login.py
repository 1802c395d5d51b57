"""Coming in with a browser: a token once, and a cookie from then on."""

from __future__ import annotations

from urllib.parse import quote

from flask import Response, redirect, request

from ctrlplane_gitops.api.body import FORM, Body
from ctrlplane_gitops.api.errors import Refusal
from ctrlplane_gitops.api.guard import Guard
from ctrlplane_gitops.api.route import Call, Reach, Route, root_path
from ctrlplane_gitops.api.session import COOKIE


class Login(Body):
    """``next`` is where a form leads to."""

    token: str
    next: str = ""


def build_login_routes(guard: Guard) -> tuple[Route, ...]:
    """``POST /login`` and ``POST /logout``: with JSON 204, with a form a redirect."""

    def log_in(call: Call) -> Response:
        is_form = request.mimetype == FORM
        try:
            value = guard.begin_session(call.body.token.strip(), request.remote_addr or "")
        except Refusal as refusal:
            if is_form and refusal.status == 401:
                return _redirect(f"{root_path()}/login?failed=true&next={quote(_next_of(call))}")
            raise
        answer = _redirect(_next_of(call)) if is_form else Response(status=204)
        answer.set_cookie(
            COOKIE, value, httponly=True, samesite="Strict", secure=_is_secure(),
            path=root_path() or "/",
        )  # fmt: skip
        return answer

    def log_out(call: Call) -> Response:
        guard.sessions.end(request.cookies.get(COOKIE, ""))
        is_form = request.mimetype == FORM
        answer = _redirect(f"{root_path()}/login") if is_form else Response(status=204)
        answer.delete_cookie(COOKIE, httponly=True, samesite="Strict", path=root_path() or "/")
        return answer

    return (
        Route(
            "POST", "/login", None, Reach.OPEN, "Begin a session with a token.", log_in,
            status=204, body=Login,
        ),
        Route("POST", "/logout", None, Reach.OPEN, "End the session.", log_out, status=204),
    )  # fmt: skip


def _next_of(call: Call) -> str:
    """Where the form leads to: where its sender came from, or to the first page."""
    return _local(call.body.next) if call.body.next else f"{root_path()}/"


def _redirect(place: str) -> Response:
    answer = redirect(place, 303)
    assert isinstance(answer, Response)
    return answer


def _local(place: str) -> str:
    """Nobody is led to another site.

    >>> _local("/tenants/acme"), _local("//evil.example"), _local("https://evil.example")
    ('/tenants/acme', '/', '/')
    """
    is_path = place.startswith("/") and not place.startswith(("//", "/\\"))
    return place if is_path and place.isprintable() else "/"


def _is_secure() -> bool:
    """Where TLS ends before us, the browser knows."""
    return request.is_secure or request.headers.get("Origin", "").startswith("https://")
