"""Webhooks: ``POST /hooks/<sender>``."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Protocol

from flask import Response, abort, request

from ctrlplane_gitops.api.errors import Refusal
from ctrlplane_gitops.api.route import Call, Reach, Route
from ctrlplane_gitops.errors import DeliveryError, StoreError
from ctrlplane_gitops.state.delivery import DeliveryOutcome, DeliveryRecord

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
        said = {"id": row.id, "outcome": row.outcome.value, "message": row.message or None}
        status = 202 if row.outcome is DeliveryOutcome.ACCEPTED else 200
        # What jsonify does besides takes longer than the rest of an answer.
        return Response(json.dumps(said) + "\n", status, content_type="application/json")

    return (
        Route(
            "POST", _PATH, None, Reach.SIGNED, "A webhook of a forge, or of anybody who signs.",
            answer, status=202,
        ),
    )  # fmt: skip


def refuse_large(receiver: Receiver | None) -> None:
    """A body is larger than is taken anywhere: a delivery whose body that is, is told of."""
    rule, sender = request.url_rule, (request.view_args or {}).get("sender", "")
    if receiver is None or rule is None or not rule.rule.endswith(_PATH):
        return
    if receiver.listens_to(sender):
        receiver.refuse(sender, 413, "the body is larger than is taken here")
