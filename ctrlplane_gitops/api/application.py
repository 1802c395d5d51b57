"""The Flask application: what is served, and what is not."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import quote, urlsplit

from flask import Flask, Response, abort, g, jsonify, redirect, request
from prometheus_client import CONTENT_TYPE_LATEST

from ctrlplane_gitops.api.body import parse_body
from ctrlplane_gitops.api.errors import Refusal, add_error_handlers
from ctrlplane_gitops.api.guard import Access, Guard, not_found
from ctrlplane_gitops.api.hook import Receiver, build_hook_routes, refuse_large
from ctrlplane_gitops.api.login import build_login_routes
from ctrlplane_gitops.api.query import parse_query
from ctrlplane_gitops.api.read import API, build_read_routes
from ctrlplane_gitops.api.route import Call, Reach, Route
from ctrlplane_gitops.auth.roles import Permission
from ctrlplane_gitops.auth.tokens import NOBODY
from ctrlplane_gitops.status.board import Board
from ctrlplane_gitops.status.render import status_as_json
from ctrlplane_gitops.status.shown import as_json
from ctrlplane_gitops.status.view import StatusDocument
from ctrlplane_gitops.value import replace, struct

# A webhook may bring this much; nothing else that is served takes as large a body.
MAX_BODY = 5 * 1024 * 1024


@struct
class Views:
    """Where the answers come from. Each is called by many threads at once.

    ``board`` has what is known; ``read_status`` looks now, and raises CtrlplaneError when that is
    not to be had. ``find_unready`` says why it is not ready, "" when it is. ``render_metrics`` is
    Prometheus's text format. ``receiver`` takes webhooks, None where there are none."""

    board: Board
    read_status: Callable[[], StatusDocument]
    find_unready: Callable[[], str]
    render_metrics: Callable[[], bytes]
    on_bug: Callable[[Exception], None] = lambda bug: None
    receiver: Receiver | None = None


def build_application(
    views: Views, access: Access, hosts: tuple[str, ...] = (), more: Iterable[Route] = ()
) -> Flask:
    """``hosts`` are the names that requests may be addressed to; () is any. On a loopback address
    a page of somebody else's could otherwise read it, through a name that leads here. ``more`` are
    routes that others bring along."""
    application = Flask("ctrlplane_gitops", static_folder=None, template_folder=None)
    application.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    application.json.sort_keys = False  # type: ignore[attr-defined]
    guard = Guard(access)
    routes = (
        *_build_own(views, guard),
        *build_login_routes(guard),
        *build_read_routes(views.board),
        *build_hook_routes(views.receiver),
        *more,
    )
    known = {item.name: item for item in routes}
    application.before_request(lambda: _refuse(hosts, views.receiver))
    application.before_request(lambda: _admit(guard, known))
    application.after_request(_harden)
    add_error_handlers(application, views.on_bug)
    for item in routes:
        application.add_url_rule(
            item.path, item.name, _build_view(item), methods=[item.method], strict_slashes=True
        )
    application.extensions["ctrlplane"] = {"guard": guard, "routes": routes}
    return application


def _build_own(views: Views, guard: Guard) -> tuple[Route, ...]:
    """What concerns the process itself."""

    def answer_ready(call: Call) -> Any:
        reason = views.find_unready()
        if not reason:
            return {"status": "ok"}
        # It may tell of tenants, and whoever asks has not said who they are.
        shown = reason if _may_know(guard) else "it is not ready"
        raise Refusal(503, "not-ready", shown)

    def answer_metrics(call: Call) -> Response:
        return Response(views.render_metrics(), content_type=CONTENT_TYPE_LATEST)

    def answer_status(call: Call) -> Any:
        document, scope = views.read_status(), call.who.tenants
        if scope is not None:
            seen = tuple(item for item in document.instances if item.key.tenant in scope)
            document = replace(document, instances=seen)
        return status_as_json(document)

    return (
        Route(
            "GET", "/healthz", None, Reach.OPEN, "Whether the process lives.",
            lambda call: {"status": "ok"}, shows=dict,
        ),
        Route(
            "GET", "/readyz", None, Reach.OPEN, "Whether a pass has done all it could.",
            answer_ready, shows=dict,
        ),
        Route(
            "GET", "/metrics", Permission.READ, Reach.PLANE, "Figures for Prometheus.",
            answer_metrics, media="text/plain",
        ),
        Route(
            "GET", f"{API}/status", Permission.READ, Reach.LIST,
            "What 'status --json' prints, probed now.", answer_status, shows=dict,
        ),
    )  # fmt: skip


def _may_know(guard: Guard) -> bool:
    try:
        return guard.authenticate(request).tenants is None
    except Refusal:
        return False


def _admit(guard: Guard, known: dict[str, Route]) -> Any:
    """Before anything is answered: who asks, whether they may, and whether they meant to."""
    route = known.get(request.endpoint or "")
    if route is not None and route.reach in (Reach.OPEN, Reach.SIGNED):
        g.who = NOBODY
        if route.reach is Reach.OPEN:
            guard.check_origin(request)
        return None
    try:
        g.who = guard.authenticate(request)
    except Refusal as refusal:
        if route is not None and route.is_page and refusal.status == 401:
            return redirect(f"/login?next={quote(request.path)}", 303)
        raise
    if route is None:
        if request.routing_exception is None:
            raise not_found()
        return None
    guard.authorize(g.who, route, request.view_args or {})
    guard.check_origin(request)
    return None


def _build_view(route: Route) -> Callable[..., Any]:
    def view(**path: Any) -> Any:
        call = Call(g.who, path, parse_query(route, request.args), parse_body(route, request))
        found = route.answer(call)
        if found is None:
            raise not_found()
        if isinstance(found, Response):
            return found
        answer = jsonify(as_json(found))
        answer.status_code = route.status
        return answer

    return view


def _refuse(hosts: tuple[str, ...], receiver: Receiver | None) -> None:
    """Before anything is read of it: a view that takes no body would never ask how long it is."""
    host = request.environ.get("HTTP_HOST")
    if hosts and host is not None and _name_of(host) not in hosts:
        abort(400)
    if (request.content_length or 0) > MAX_BODY:
        refuse_large(receiver)
        abort(413)


def _name_of(host: str) -> str:
    """A Host header without its port; "" for what is none.

    >>> _name_of("LOCALHOST:8321"), _name_of("[::1]:80"), _name_of("[x")
    ('localhost', '::1', '')
    """
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _harden(response: Response) -> Response:
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Cache-Control"] = "no-store"
    return response
