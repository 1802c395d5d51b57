"""Anything else: a CI job, a ``post-receive`` hook, a service that sends Standard Webhooks.

A secret ``whsec_<base64>`` is a key of Standard Webhooks (``signature.check_standard``). Any other
one signs with ``X-Signature-256``: ``sha256=`` and the HMAC-SHA256 of the body in hex, as at
GitHub::

    BODY='{"ref": "refs/heads/main", "after": "..."}'
    HEX=$(printf %s "$BODY" | openssl dgst -sha256 -hmac "$SECRET" -r | cut -d' ' -f1)
    curl -d "$BODY" -H 'Content-Type: application/json' -H "X-Signature-256: sha256=$HEX" URL

The body is a JSON object; all of it is optional, and may stand below ``data`` as Standard Webhooks
recommend: ``type`` or ``event`` (``push``, also as the end of ``repository.push``, is what is meant
without one; ``ping``), ``id``, ``ref`` (full), ``before``, ``after``, and ``repository``, a URL or
an object with ``clone_url``, ``ssh_url`` or ``url``. A body that was there before counts as a
replay: an ``id`` or ``after`` makes it a new one.
"""

from __future__ import annotations

from ctrlplane_gitops.source.hook.delivery import Delivery, Event
from ctrlplane_gitops.source.hook.payload import (
    Payload,
    parse_json,
    push_at,
    read_content_type,
    text_at,
    to_urls,
    value_at,
)
from ctrlplane_gitops.source.hook.request import Request, build_delivery
from ctrlplane_gitops.source.hook.signature import check_hex, check_standard


def read_generic(request: Request) -> Delivery:
    signed_id = check_standard(request)
    if not signed_id:
        check_hex(request, "X-Signature-256", request.body, "sha256=")
    read_content_type(request)
    payload = parse_json(request.body)
    event = _read_event(text_at(payload, "type") or text_at(payload, "event"))
    given_id = signed_id or text_at(payload, "id")
    if event is not Event.PUSH:
        return build_delivery(request, event, given_id, request.body)
    data = payload.get("data")
    inner = data if isinstance(data, dict) else payload
    return build_delivery(request, event, given_id, request.body, _read_urls(inner), push_at(inner))


def _read_event(name: str) -> Event:
    """
    >>> _read_event("").value, _read_event("repository.push").value, _read_event("a.b").value
    ('push', 'push', 'other')
    """
    last = name.rpartition(".")[2] or "push"
    return Event(last) if last in ("push", "ping") else Event.OTHER


def _read_urls(payload: Payload) -> tuple[str, ...]:
    if isinstance(value_at(payload, "repository"), str):
        return to_urls(text_at(payload, "repository"))
    keys = ("clone_url", "ssh_url", "url")
    return to_urls(*(text_at(payload, "repository", key) for key in keys))
