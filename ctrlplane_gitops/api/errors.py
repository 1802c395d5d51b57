"""Every error as a problem document (RFC 9457)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Protocol

from flask import Blueprint, Flask, Response
from werkzeug.exceptions import HTTPException

from ctrlplane_gitops.errors import (
    CancelledError,
    CapabilityError,
    ConflictError,
    CtrlplaneError,
    DeadlineError,
    DeliveryError,
    GuardError,
    LockError,
    ProviderError,
    ReplicaError,
    SpecError,
    StalePlanError,
    UnreachableError,
    UsageError,
)

# First match wins; what is not listed is not to be had now.
STATUSES: tuple[tuple[type[CtrlplaneError], int], ...] = (
    (ConflictError, 409),
    (UsageError, 400),
    (SpecError, 422),
    (GuardError, 409),
    (StalePlanError, 409),
    (LockError, 409),
    (CancelledError, 503),
    (DeadlineError, 504),
    (UnreachableError, 503),
    (CapabilityError, 409),
    (ReplicaError, 409),
    (ProviderError, 502),
)


class Refusal(Exception):
    """What a request is answered with instead of what it asked for."""

    def __init__(
        self, status: int, code: str, detail: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail, self.headers = status, code, detail, headers


def problem(
    status: int, code: str, detail: str, headers: Mapping[str, str] | None = None
) -> Response:
    """``{"type", "title", "status", "detail", "code"}``; ``code`` is ours, stable and kebab-case,
    ``title`` HTTP's own phrase."""
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
    }
    text = json.dumps(body, ensure_ascii=False)
    return Response(
        text, status, headers=dict(headers or {}), content_type="application/problem+json"
    )


class Show(Protocol):
    """How a refusal is answered: as a problem document, or as a page for people."""

    def __call__(
        self, status: int, code: str, detail: str, headers: Mapping[str, str] | None = None
    ) -> Response: ...


def answer_of(
    status: int, headers: Mapping[str, str] | None = None, show: Show = problem
) -> Response:
    """What everybody is answered with this status, whatever the path."""
    code, detail = _KNOWN.get(status, (f"http-{status}", HTTPStatus(status).phrase))
    return show(status, code, detail, headers)


def add_error_handlers(
    place: Flask | Blueprint, on_bug: Callable[[Exception], None], show: Show = problem
) -> None:
    """For everything of ``place`` and nothing else. ``on_bug`` is told of what nobody expected;
    the client learns only that it was that."""

    def answer_http(error: HTTPException) -> Response:
        # Which methods are allowed is said by a header.
        headers = {
            name: value
            for name, value in error.get_headers()
            if name.lower() not in ("content-type", "content-length")
        }
        return answer_of(error.code or 500, headers, show)

    def answer_ours(error: CtrlplaneError) -> Response:
        return show(status_of(error), error.code, error.message)

    def answer_refusal(error: Refusal) -> Response:
        return show(error.status, error.code, error.detail, error.headers)

    def answer_bug(error: Exception) -> Response:
        on_bug(error)
        return show(500, "bug", "this is a bug; the log names the place")

    place.register_error_handler(HTTPException, answer_http)
    place.register_error_handler(CtrlplaneError, answer_ours)
    place.register_error_handler(Refusal, answer_refusal)
    place.register_error_handler(Exception, answer_bug)


def status_of(error: CtrlplaneError) -> int:
    """
    >>> status_of(UsageError("what?")), status_of(CtrlplaneError("later"))
    (400, 503)
    """
    if isinstance(error, DeliveryError):
        return error.status
    return next((status for kind, status in STATUSES if isinstance(error, kind)), 503)


# Python's own phrases are not the same in every version.
_KNOWN = {
    400: ("bad-request", "the request cannot be understood, or is addressed to another host"),
    404: ("not-found", "there is nothing at this path"),
    405: ("method-not-allowed", "the method is not one of those that the Allow header names"),
    413: ("too-large", "the body is larger than is taken here"),
}
