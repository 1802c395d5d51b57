"""Who asks, and whether they may: before anything is answered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from math import ceil
from typing import Any

from flask import Request

from ctrlplane_gitops.api.errors import Refusal
from ctrlplane_gitops.api.route import Reach, Route
from ctrlplane_gitops.api.session import COOKIE, Attempts, Sessions
from ctrlplane_gitops.auth.roles import LEAST_ROLE, Permission
from ctrlplane_gitops.auth.tokens import (
    ANONYMOUS,
    Principal,
    digest_of,
    find_token,
    principal_of,
)
from ctrlplane_gitops.clock import Clock
from ctrlplane_gitops.state.access import AccessToken
from ctrlplane_gitops.value import struct

CSRF_FIELD, CSRF_HEADER = "csrf", "X-CSRF-Token"
_REALM = 'Bearer realm="ctrlplane-gitops"'
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
Tokens = tuple[AccessToken, ...]


@struct
class Access:
    """``read_tokens`` are those Git declares, None while the specs are not known. ``is_open``:
    whoever reaches the address is let in while there are none; where it is not, and while they are
    not known, nobody is."""

    read_tokens: Callable[[], Tokens | None]
    is_open: bool
    clock: Clock


class Guard:
    """Decides of every request. Safe to use from several threads."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._attempts = Attempts(access.clock)
        self.sessions = Sessions(access.clock)

    def authenticate(self, request: Request) -> Principal:
        """Who asks; Refusal (401) where that is nobody who may come in, 503 while it cannot be
        told."""
        given = _bearer_of(request)
        if given is not None:
            return self.log_in(given, request.remote_addr or "")
        tokens = self._access.read_tokens()
        if tokens:
            found = self._find_session(tokens, request)
            if found is None:
                raise _unauthenticated("a token is needed")
            return principal_of(found)
        if self._access.is_open:
            return ANONYMOUS
        raise _unauthenticated(
            "a token is needed, and the control plane declares none"
            if tokens is not None
            else "a token is needed"
        )

    def log_in(self, text: str, place: str) -> Principal:
        """Who this token lets in."""
        tokens = self._access.read_tokens()
        if tokens is None:
            raise Refusal(
                503, "access-unknown", "the tokens are not known yet: the specs have not been read",
                {"Retry-After": "2"},
            )  # fmt: skip
        found = find_token(tokens, text, self._access.clock.now())
        if found is not None:
            return principal_of(found)
        wait = self._attempts.fail(place)
        if wait is not None:
            raise _too_many(wait)
        raise _unauthenticated("the token is not one of those that are declared", "invalid_token")

    def _find_session(self, tokens: Tokens, request: Request) -> AccessToken | None:
        digest = self.sessions.find(request.cookies.get(COOKIE, ""))
        found = next((item for item in tokens if item.sha256 == digest), None)
        if found is None or found.expires_at is None:
            return found
        return found if found.expires_at > self._access.clock.now() else None

    def authorize(self, who: Principal, route: Route, path: Mapping[str, Any]) -> None:
        """Refusal where they may not: 404 for a tenant they cannot see, 403 for what takes more
        than they have."""
        if route.reach is Reach.TENANT and not who.can_see(path["tenant"]):
            raise not_found()
        if route.permission is not None:
            require(who, route.permission)
        if route.reach is Reach.PLANE and who.tenants is not None:
            raise Refusal(
                403, "forbidden", "this is about the whole control plane, and the token is of some "
                "tenants alone",
            )  # fmt: skip

    def check_origin(self, request: Request) -> None:
        """A change that a browser may have been talked into by somebody else's page is refused: it
        comes from one of ours, or brings a token along, which no other page has."""
        if request.method in _SAFE or _bearer_of(request) is not None:
            return
        site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
        if site not in (None, "same-origin") or (site is None and not _is_ours(origin, request)):
            raise Refusal(403, "cross-origin", "the request comes from another site's page")
        if request.mimetype == "application/json":
            # No page of another site can send that without having asked whether it may.
            return
        given = request.headers.get(CSRF_HEADER) or request.form.get(CSRF_FIELD, "")
        if not self.sessions.is_signed(request.cookies.get(COOKIE, ""), given):
            raise Refusal(
                403, "csrf", "the request is neither application/json nor does it bring the token "
                f"of one of our forms along ({CSRF_FIELD}, or {CSRF_HEADER})",
            )  # fmt: skip

    def csrf_of(self, request: Request) -> str:
        """What a form on the page that is the answer has to send as ``csrf``."""
        return self.sessions.sign(request.cookies.get(COOKIE, ""))

    def begin_session(self, text: str, place: str) -> str:
        """The cookie of who logs in with this token."""
        self.log_in(text, place)
        return self.sessions.begin(digest_of(text))


def require(who: Principal, permission: Permission) -> None:
    if not who.may(permission):
        raise Refusal(
            403, "forbidden", f"this takes the permission {permission.value!r}, which the role "
            f"{LEAST_ROLE[permission].value} has and {who.role.value} has not",
        )  # fmt: skip


def not_found() -> Refusal:
    return Refusal(404, "not-found", "there is nothing at this path")


def _bearer_of(request: Request) -> str | None:
    """The token of the Authorization header; "" for a header of another kind."""
    header = request.headers.get("Authorization")
    if header is None:
        return None
    scheme, _, rest = header.partition(" ")
    return rest.strip() if scheme.lower() == "bearer" else ""


def _is_ours(origin: str | None, request: Request) -> bool:
    """Programs send none. By host alone: where TLS ends before us the schemes differ."""
    return origin is None or origin.partition("://")[2] == request.host


def _unauthenticated(detail: str, error: str = "") -> Refusal:
    challenge = f'{_REALM}, error="{error}"' if error else _REALM
    return Refusal(401, "unauthenticated", detail, {"WWW-Authenticate": challenge})


def _too_many(wait: timedelta) -> Refusal:
    seconds = max(1, ceil(wait.total_seconds()))
    headers = {"Retry-After": str(seconds), "WWW-Authenticate": _REALM}
    return Refusal(429, "too-many-attempts", f"wait {seconds}s before the next attempt", headers)
