"""The Flask application: what is served, and what is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from flask import Flask, Response, abort, jsonify, request
from prometheus_client import CONTENT_TYPE_LATEST

from ctrlplane_gitops.api.errors import add_error_handlers, problem
from ctrlplane_gitops.value import struct

# A webhook may bring this much; nothing that is served now takes a body.
MAX_BODY = 5 * 1024 * 1024


@struct
class Views:
    """Where the answers come from. Each is called by many threads at once.

    ``read_status`` gives the JSON of ``status --json``, ``read_workers`` a list of workers as
    JSON; both raise CtrlplaneError when it is not to be had. ``find_unready`` says why it is not
    ready, "" when it is. ``render_metrics`` is Prometheus's text format."""

    read_status: Callable[[], Any]
    read_workers: Callable[[], list[Any]]
    find_unready: Callable[[], str]
    render_metrics: Callable[[], bytes]
    on_bug: Callable[[Exception], None] = lambda bug: None


def build_application(views: Views, hosts: tuple[str, ...] = ()) -> Flask:
    """``hosts`` are the names that requests may be addressed to; () is any. On a loopback address
    a page of somebody else's could otherwise read it, through a name that leads here."""
    application = Flask("ctrlplane_gitops", static_folder=None, template_folder=None)
    application.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    application.json.sort_keys = False  # type: ignore[attr-defined]
    application.before_request(lambda: _refuse(hosts))
    application.after_request(_harden)
    add_error_handlers(application, views.on_bug)

    @application.get("/healthz")
    def healthz() -> Response:
        return jsonify(status="ok")

    @application.get("/readyz")
    def readyz() -> Response:
        reason = views.find_unready()
        return problem(503, "not-ready", reason) if reason else jsonify(status="ok")

    @application.get("/metrics")
    def metrics() -> Response:
        return Response(views.render_metrics(), content_type=CONTENT_TYPE_LATEST)

    @application.get("/api/v1/status")
    def status() -> Response:
        return jsonify(views.read_status())

    @application.get("/api/v1/workers")
    def workers() -> Response:
        return jsonify(workers=views.read_workers())

    return application


def _refuse(hosts: tuple[str, ...]) -> None:
    """Before anything is read of it: a view that takes no body would never ask how long it is."""
    host = request.environ.get("HTTP_HOST")
    if hosts and host is not None and _name_of(host) not in hosts:
        abort(400)
    if (request.content_length or 0) > MAX_BODY:
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
