"""Webhooks: ``POST /hooks/<sender>``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Protocol

from flask import Response, abort, request

from ctrlplane_gitops.api.errors import Refusal
from ctrlplane_gitops.api.route import Call, Reach, Route
from ctrlplane_gitops.errors import DeliveryError, StoreError
from ctrlplane_gitops.state.delivery import DeliveryOutcome, DeliveryRecord
from ctrlplane_gitops.value import struct

_PATH = "/hooks/<sender>"
_CODES = {400: "malformed", 401: "unauthorized", 413: "too-large"}


class Receiver(Protocol):
    """Who takes deliveries; called by many threads at once."""

    def listens_to(self, sender: str) -> bool:
        """Whether there is a secret for it."""
        ...

    def receive(
        self, sender: str, headers: Iterable[tuple[str, str]], body: bytes
    ) -> DeliveryRecord:
        """The row of the delivery, on disk; DeliveryError, StoreError."""
        ...

    def read(self, sender: str, headers: Iterable[tuple[str, str]], body: bytes) -> DeliveryRecord:
        """What would be written down of the delivery, and nothing is; DeliveryError."""
        ...

    def accept(self, records: Sequence[DeliveryRecord]) -> Sequence[DeliveryRecord]:
        """The rows of what was read, on disk: all of them, or none and StoreError."""
        ...

    def refuse(self, sender: str, status: int, why: str) -> None:
        """A request was answered with this status before anybody read it."""
        ...


def build_hook_routes(receiver: Receiver | None) -> tuple[Route, ...]:
    """202 for a delivery that is on disk and leads to a look, 200 for one that leads to nothing.
    Nothing that can be sent is answered with 5xx; 503 says that we cannot write it down."""
    if receiver is None:
        return ()

    def answer(call: Call) -> Response:
        sender = call.path["sender"]
        if not receiver.listens_to(sender):
            # Nothing is read of whom nobody could vouch for.
            receiver.refuse(sender, 404, "")
            abort(404)
        try:
            row = receiver.receive(sender, request.headers.items(), request.get_data(cache=False))
        except DeliveryError as error:
            if error.status == 404:
                abort(404)
            code = _CODES.get(error.status, "malformed")
            raise Refusal(error.status, code, error.message) from None
        except StoreError as error:
            text = "deliveries cannot be written down now"
            raise Refusal(503, error.code, text, {"Retry-After": "5"}) from None
        status, said = _say(row)
        # What jsonify does besides takes longer than the rest of an answer.
        return Response(said, status, content_type="application/json")

    return (
        Route(
            "POST", _PATH, None, Reach.SIGNED, "A webhook of a forge, or of anybody who signs.",
            answer, status=202,
        ),
    )  # fmt: skip


@struct
class Post:
    """A request to ``/hooks/<sender>`` as it came in."""

    sender: str
    headers: Sequence[tuple[str, str]]
    body: bytes


def answer_posts(receiver: Receiver, posts: Iterable[Post]) -> list[tuple[int, bytes] | None]:
    """Status and content for each, once all are on disk together. None for one that is not simply
    taken, and for all of them when they cannot be written down: nothing of it has been counted, so
    that the route above can be asked."""
    read = [_read(receiver, post) for post in posts]
    taken = [record for record in read if record is not None]
    try:
        rows = iter(receiver.accept(taken) if taken else ())
    except StoreError:
        return [None] * len(read)
    return [None if record is None else _say(next(rows)) for record in read]


def _read(receiver: Receiver, post: Post) -> DeliveryRecord | None:
    if not receiver.listens_to(post.sender):
        return None
    try:
        return receiver.read(post.sender, post.headers, post.body)
    except DeliveryError:
        return None


def _say(row: DeliveryRecord) -> tuple[int, bytes]:
    said = {"id": row.id, "outcome": row.outcome.value, "message": row.message or None}
    status = 202 if row.outcome is DeliveryOutcome.ACCEPTED else 200
    return status, (json.dumps(said) + "\n").encode()


def refuse_large(receiver: Receiver | None) -> None:
    """A body is larger than is taken anywhere: a delivery whose body that is, is told of."""
    rule, sender = request.url_rule, (request.view_args or {}).get("sender", "")
    if receiver is None or rule is None or not rule.rule.endswith(_PATH):
        return
    if receiver.listens_to(sender):
        receiver.refuse(sender, 413, "the body is larger than is taken here")
