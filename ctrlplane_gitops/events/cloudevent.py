"""Messages as CloudEvents 1.0 in JSON (structured mode), signed by Standard Webhooks. Pure.

Source: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ctrlplane_gitops.clock import rfc3339
from ctrlplane_gitops.events.notice import Status, Told
from ctrlplane_gitops.http.webhook import sign
from ctrlplane_gitops.state.key import Kind, ResourceKey
from ctrlplane_gitops.state.log import tenant_of

CONTENT_TYPE = "application/cloudevents+json"
TYPE_PREFIX = "dev.ctrlplane."


def build_body(plane: str, told: Told) -> str:
    """The message as JSON text. ``source`` is the control plane's address, ``subject`` that of
    the event, ``id`` the event's."""
    event = told.event
    data: dict[str, Any] = {"message": event.message, "notice": told.status.value}
    if told.status is not Status.SINGLE:
        data["count"] = told.count
    if told.since is not None:
        data["since"] = rfc3339(told.since)
    tenant = tenant_of(event.address)
    if tenant:
        data["tenant"] = tenant
    if event.data:
        data["details"] = dict(event.data)
    body = {
        "specversion": "1.0",
        "id": event.id,
        "source": ResourceKey(Kind.CONTROL_PLANE, "", plane).address,
        "type": TYPE_PREFIX + event.type,
        "time": rfc3339(event.at),
        "datacontenttype": "application/json",
        "data": data,
    }
    if event.address:
        body["subject"] = event.address
    return json.dumps(body, separators=(",", ":"))


def build_headers(
    id: str, body: bytes, key: bytes, now: datetime, given: Mapping[str, str]
) -> dict[str, str]:
    """The headers of one attempt. ``id`` is the same at each, the time and with it the signature
    are not. ``given`` are the subscription's own, which replace none of these."""
    stamp = str(int(now.timestamp()))
    return {
        **given,
        "Content-Type": f"{CONTENT_TYPE}; charset=utf-8",
        "webhook-id": id,
        "webhook-timestamp": stamp,
        "webhook-signature": sign(key, id, stamp, body).decode(),
    }
