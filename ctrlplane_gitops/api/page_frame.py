"""What is around every page: navigation, headers, and errors that people can read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode

from flask import Response, request

from ctrlplane_gitops.api.errors import Refusal
from ctrlplane_gitops.api.guard import Guard
from ctrlplane_gitops.api.rendering import Frame, Link, digest_of, read_static, render
from ctrlplane_gitops.api.route import Call, root_path
from ctrlplane_gitops.api.session import COOKIE
from ctrlplane_gitops.auth.tokens import Principal

# The path of a page by the name that templates use; what is in angle brackets is filled in.
PATHS = {
    "fleet": "/",
    "tenants": "/tenants",
    "tenant": "/tenants/<tenant>",
    "instance": "/tenants/<tenant>/instances/<name>",
    "plan": "/plan",
    "commits": "/commits",
    "commit": "/commits/<commit>",
    "events": "/events",
    "deliveries": "/deliveries",
    "workers": "/workers",
    "audit": "/audit",
    "login": "/login",
    "logout": "/logout",
    **{
        name: f"/instances/<tenant>/<name>/{name}"
        for name in ("promote", "abort", "pause", "resume", "rollback", "run-check")
    },
    "reconcile": "/reconcile",
    "run": "/workers/<worker>/run",
    "stream": "/api/v1/events/stream",
    "static": "/static/<file>",
}
# Title, and whether it is about the whole control plane.
_LINKS = (
    ("fleet", "Fleet", False),
    ("tenants", "Tenants", False),
    ("plan", "Plan", False),
    ("commits", "Commits", True),
    ("events", "Events", False),
    ("deliveries", "Deliveries", True),
    ("workers", "Workers", True),
    ("audit", "Audit", False),
)
# Everything comes from here, nothing is inline, and nobody may put a page into a frame.
_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
FILES = ("pages.css", "live.js", "mark.svg")
_YEAR_S = 31_536_000

# What was just done, by the name in the address: an address must not put words into our mouth.
DONE = {
    "promote": "The present step is passed.",
    "pause": "The rollout is paused: nothing is moved until it is resumed.",
    "resume": "The rollout goes on.",
    "abort": "The release before is returned to.",
    "rollback": "The release is pinned; the next pass rolls back to it.",
    "unpin": "Git is followed again from the next pass on.",
    "run-check": "Every check was run once; what it came to is shown here.",
    "run": "The worker runs as soon as it can.",
    "reconcile": "Everything is looked at again.",
}


def address_of(name: str, /, **arguments: Any) -> str:
    """The path and query of a page; what the path does not take is the query.

    >>> address_of("instance", tenant="acme", name="a b")
    '/tenants/acme/instances/a%20b'
    >>> address_of("fleet", q="x&y", phase="", page=None)
    '/?q=x%26y'
    """
    path, query = PATHS[name], {}
    for key, value in arguments.items():
        if f"<{key}>" in path:
            path = path.replace(f"<{key}>", quote(str(value), safe=""))
        elif value not in (None, ""):
            query[key] = value
    return f"{path}?{urlencode(query)}" if query else path


class Framer:
    """Makes answers of templates. ``read_plane`` is the control plane's name, "" while it is not
    known; ``now`` is the time."""

    def __init__(
        self, guard: Guard, read_plane: Callable[[], str], now: Callable[[], datetime]
    ) -> None:
        self._guard, self._read_plane, self.now = guard, read_plane, now

    def url(self, name: str, /, **arguments: Any) -> str:
        return root_path() + address_of(name, **arguments)

    def asset(self, name: str) -> str:
        return self.url("static", file=name, v=digest_of(name))

    def page(
        self,
        template: str,
        here: str,
        who: Principal | None,
        values: Mapping[str, Any],
        *,
        status: int = 200,
    ) -> Response:
        """``who`` None: whoever has not come in yet, who is shown no way on."""
        frame = Frame(
            plane=self._read_plane() if who is not None else "",
            now=self.now(),
            here=here,
            links=() if who is None else self._links(who),
            query=str(values.get("query", "")),
            csrf=self._guard.csrf_of(request),
            stream="" if who is None else self.url("stream"),
            said=DONE.get(request.args.get("done", ""), ""),
            is_signed_in=bool(request.cookies.get(COOKIE)) and who is not None,
        )
        text = render(template, frame, self.url, self.asset, values)
        return _harden(Response(text, status, content_type="text/html; charset=utf-8"))

    def _links(self, who: Principal) -> tuple[Link, ...]:
        return tuple(
            Link(name, text, self.url(name))
            for name, text, is_whole in _LINKS
            if who.tenants is None or not is_whole
        )

    def error(self, who: Principal | None, status: int, detail: str) -> Response:
        values = {"status": status, "title": _TITLES.get(status, "Not done"), "detail": detail}
        return self.page("error.html", "", who, values, status=status)


_TITLES = {
    400: "This cannot be understood",
    403: "Not allowed",
    404: "Nothing is here",
    409: "Not possible now",
    503: "Not to be had now",
}


def answer_static(call: Call) -> Response:
    """A file of ``static/``; its address changes with it."""
    name = call.path["file"]
    if name not in FILES:
        raise Refusal(404, "not-found", "there is nothing at this path")
    kind = _TYPES[name.rpartition(".")[2]]
    answer = Response(read_static(name), content_type=f"{kind}; charset=utf-8")
    answer.headers["Cache-Control"] = f"public, max-age={_YEAR_S}, immutable"
    return answer


def _harden(response: Response) -> Response:
    response.headers["Content-Security-Policy"] = _POLICY
    response.headers["Referrer-Policy"] = "same-origin"
    response.headers["X-Frame-Options"] = "DENY"
    return response
