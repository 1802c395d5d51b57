"""The Flask application: what is served, and what is not."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from flask import Blueprint, Flask, Response, abort, g, redirect, request
from prometheus_client import CONTENT_TYPE_LATEST

from ctrlplane_gitops.api.action import Actions, build_action_routes
from ctrlplane_gitops.api.body import parse_body
from ctrlplane_gitops.api.errors import Refusal, add_error_handlers, problem
from ctrlplane_gitops.api.guard import Access, Guard, not_found
from ctrlplane_gitops.api.hook import Receiver, build_hook_routes, refuse_large
from ctrlplane_gitops.api.login import build_login_routes
from ctrlplane_gitops.api.openapi import build_openapi
from ctrlplane_gitops.api.page import PageViews, page_routes
from ctrlplane_gitops.api.page_frame import Framer
from ctrlplane_gitops.api.query import parse_query
from ctrlplane_gitops.api.read import API, build_read_routes
from ctrlplane_gitops.api.route import Call, Reach, Route, root_path
from ctrlplane_gitops.api.stream import Streams, build_stream_routes
from ctrlplane_gitops.api.vital import build_vital_routes
from ctrlplane_gitops.auth.roles import Permission
from ctrlplane_gitops.auth.tokens import NOBODY
from ctrlplane_gitops.status.board import Board
from ctrlplane_gitops.status.render import status_as_json
from ctrlplane_gitops.status.shown import as_json
from ctrlplane_gitops.status.view import StatusDocument
from ctrlplane_gitops.value import replace, struct

# A webhook may bring this much; nothing else that is served takes as large a body.
MAX_BODY = 5 * 1024 * 1024
_NAME = "ctrlplane"
# Of every answer, unless it says otherwise.
HARDENED = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}


@struct
class Views:
    """Where the answers come from. Each is called by many threads at once.

    ``board`` has what is known, ``pages`` what only pages show, ``actions`` what may be done.
    ``stop`` ends the streams. ``read_status`` looks now, and raises CtrlplaneError when that is not
    to be had. ``find_unready`` says why it is not ready, "" when it is. ``render_metrics`` is
    Prometheus's text format. ``receiver`` takes webhooks, None where there are none."""

    board: Board
    pages: PageViews
    actions: Actions
    stop: threading.Event
    read_status: Callable[[], StatusDocument]
    find_unready: Callable[[], str]
    render_metrics: Callable[[], bytes]
    on_bug: Callable[[Exception], None] = lambda bug: None
    receiver: Receiver | None = None


def build_application(
    views: Views, access: Access, hosts: tuple[str, ...] = (), more: Iterable[Route] = ()
) -> Flask:
    """Nothing but us. ``hosts`` are the names that requests may be addressed to; () is any. On a
    loopback address a page of somebody else's could otherwise read it, through a name that leads
    here. ``more`` are routes that others bring along."""
    application = Flask("ctrlplane_gitops", static_folder=None, template_folder=None)
    application.before_request(lambda: _refuse(hosts))
    guard = mount(application, views, access, more=more)
    # Whoever may not come in is not told what is nowhere.
    application.before_request(lambda: _admit_nowhere(guard))
    application.after_request(_harden)
    add_error_handlers(application, views.on_bug, _Shown(guard, views))
    return application


def mount(
    application: Flask,
    views: Views,
    access: Access,
    prefix: str = "",
    more: Iterable[Route] = (),
) -> Guard:
    """Put all our routes below ``prefix`` into an application that may have others, which notice
    nothing of it: what we do before, after and on errors is about ours alone."""
    guard = Guard(access)
    actions = build_action_routes(views.actions)
    routes = (
        *_build_own(views, guard),
        *build_login_routes(guard),
        *build_read_routes(views.board),
        *build_vital_routes(views.board),
        *actions,
        *build_stream_routes(views.board, views.actions, Streams(access.clock, views.stop)),
        *build_hook_routes(views.receiver),
        *page_routes(views.board, views.pages, guard, actions),
        *more,
    )
    described = build_openapi((*routes, _OPENAPI))
    routes = (*routes, replace(_OPENAPI, answer=lambda call: described))
    blueprint = Blueprint(_NAME, __name__, url_prefix=prefix or None)
    known = {_endpoint_of(item): item for item in routes}

    def begin() -> Any:
        g.ctrlplane_prefix, g.ctrlplane_route = prefix, known[request.endpoint or ""]
        request.max_content_length = MAX_BODY
        # Before anything is read of it: a view that takes no body would never ask how long it is.
        if (request.content_length or 0) > MAX_BODY:
            refuse_large(views.receiver)
            abort(413)
        return _admit(guard, g.ctrlplane_route)

    blueprint.before_request(begin)
    blueprint.after_request(_harden)
    add_error_handlers(blueprint, views.on_bug, _Shown(guard, views))
    for item in routes:
        blueprint.add_url_rule(
            item.path, _endpoint_of(item).partition(".")[2], _build_view(item),
            methods=[item.method], strict_slashes=True,
        )  # fmt: skip
    application.register_blueprint(blueprint)
    application.extensions["ctrlplane"] = {"guard": guard, "routes": routes}
    return guard


def _endpoint_of(route: Route) -> str:
    """Flask keeps the full stop for itself."""
    return f"{_NAME}.{route.name.replace('.', '-')}"


class _Shown:
    """Errors as problem documents, and as pages for whoever asked for one."""

    def __init__(self, guard: Guard, views: Views) -> None:
        self._framer = Framer(guard, views.pages.read_plane, views.pages.now)

    def __call__(
        self, status: int, code: str, detail: str, headers: Mapping[str, str] | None = None
    ) -> Response:
        route: Route | None = g.get("ctrlplane_route")
        accepts = request.accept_mimetypes
        is_html = accepts["text/html"] > accepts["application/json"]
        if route.is_page if route is not None else is_html:
            return self._framer.error(g.get("who"), status, detail)
        return problem(status, code, detail, headers)


_OPENAPI = Route(
    "GET",
    f"{API}/openapi.json",
    Permission.READ,
    Reach.ANY,
    "This description.",
    lambda call: None,
    shows=dict,
)


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


def _admit(guard: Guard, route: Route) -> Any:
    """Before anything is answered: who asks, whether they may, and whether they meant to."""
    if route.reach in (Reach.OPEN, Reach.SIGNED):
        g.who = NOBODY
        if route.reach is Reach.OPEN:
            guard.check_origin(request)
        return None
    try:
        g.who = guard.authenticate(request)
    except Refusal as refusal:
        if route.is_page and refusal.status == 401:
            here = request.path if request.method == "GET" else f"{g.ctrlplane_prefix}/"
            place = quote(request.script_root + here)
            return redirect(f"{root_path()}/login?next={place}", 303)
        raise
    guard.authorize(g.who, route, request.view_args or {})
    guard.check_origin(request)
    return None


def _admit_nowhere(guard: Guard) -> None:
    if request.blueprint != _NAME:
        if (request.content_length or 0) > MAX_BODY:
            abort(413)
        g.who = guard.authenticate(request)
        if request.routing_exception is None:
            raise not_found()


def _build_view(route: Route) -> Callable[..., Any]:
    def view(**path: Any) -> Any:
        call = Call(g.who, path, parse_query(route, request.args), parse_body(route, request))
        found = route.answer(call)
        if found is None:
            raise not_found()
        if isinstance(found, Response):
            return found
        # Not by the application's own provider, which may be somebody else's.
        text = json.dumps(as_json(found), ensure_ascii=False, separators=(",", ":"))
        return Response(f"{text}\n", route.status, content_type="application/json")

    return view


def _refuse(hosts: tuple[str, ...]) -> None:
    if not is_addressed(request.environ.get("HTTP_HOST"), hosts):
        abort(400)


def is_addressed(host: str | None, hosts: Collection[str]) -> bool:
    """Whether a Host header names one of ``hosts``; () is any, and programs may send none."""
    return not hosts or host is None or _name_of(host) in hosts


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
    for name, value in HARDENED.items():
        response.headers.setdefault(name, value)
    return response
