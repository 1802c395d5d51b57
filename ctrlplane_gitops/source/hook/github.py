"""GitHub.

Sources: https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
(``X-Hub-Signature-256``: ``sha256=`` and the HMAC of the raw body, for forms as well) and
https://docs.github.com/en/webhooks/webhook-events-and-payloads (headers, payloads; of a form the
field ``payload``). The older ``X-Hub-Signature`` (SHA-1) is not enough.
"""

from __future__ import annotations

from ctrlplane_gitops.source.hook.delivery import Delivery, Event, Push
from ctrlplane_gitops.source.hook.payload import (
    parse_form,
    parse_json,
    push_at,
    read_content_type,
    repository_at,
)
from ctrlplane_gitops.source.hook.request import Request, build_delivery
from ctrlplane_gitops.source.hook.signature import check_hex

_EVENTS = {"push": Event.PUSH, "ping": Event.PING}


def read_github(request: Request) -> Delivery:
    check_hex(request, "X-Hub-Signature-256", request.body, "sha256=")
    is_form = read_content_type(request, may_be_form=True)
    payload = parse_json(parse_form(request.body) if is_form else request.body)
    event = _EVENTS.get(request.event("X-GitHub-Event"), Event.OTHER)
    given_id = request.header("X-GitHub-Delivery")
    if event is Event.OTHER:
        return build_delivery(request, event, given_id, request.body)
    push = push_at(payload) if event is Event.PUSH else Push()
    return build_delivery(request, event, given_id, request.body, repository_at(payload), push)
