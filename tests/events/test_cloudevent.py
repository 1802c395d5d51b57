"""Messages as others read and check them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from ctrlplane_gitops.errors import DeliveryError
from ctrlplane_gitops.events.cloudevent import build_body, build_headers
from ctrlplane_gitops.events.notice import Status, Told
from ctrlplane_gitops.http.webhook import decode_key
from ctrlplane_gitops.source.webhook import Event as HookEvent
from ctrlplane_gitops.source.webhook import read_delivery
from ctrlplane_gitops.state.recorded import Event

NOW = datetime(2026, 3, 1, 12, 30, 45, 123456, tzinfo=UTC)
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
EVENT = Event(
    "evt_1", NOW, "rollout.failed", "instance/acme/web", "v2 'é' failed", {"release": "v2"}
)


def test_a_message_is_a_cloudevent() -> None:
    told = Told("ops", EVENT, Status.FAILURE, 3, NOW - timedelta(minutes=2))
    assert json.loads(build_body("prod", told)) == {
        "specversion": "1.0",
        "id": "evt_1",
        "source": "controlplane/prod",
        "type": "dev.ctrlplane.rollout.failed",
        "subject": "instance/acme/web",
        "time": "2026-03-01T12:30:45.123Z",
        "datacontenttype": "application/json",
        "data": {
            "message": "v2 'é' failed",
            "notice": "failure",
            "count": 3,
            "since": "2026-03-01T12:28:45.123Z",
            "tenant": "acme",
            "details": {"release": "v2"},
        },
    }


def test_what_there_is_not_is_left_out() -> None:
    body = json.loads(build_body("prod", Told("ops", Event("evt_2", NOW, "moon.risen", "", "x"))))
    assert "subject" not in body
    assert body["data"] == {"message": "x", "notice": "single"}


def test_whoever_knows_the_secret_can_check_a_message() -> None:
    """With the very code that checks what is sent to us."""
    body = build_body("prod", Told("ops", EVENT)).encode()
    key = decode_key(SECRET.encode())
    given = {"X-Team": "ops", "webhook-id": "forged", "Content-Type": "text/plain"}
    headers = build_headers("msg_1", body, key, NOW, given)
    assert headers["X-Team"] == "ops"
    assert headers["Content-Type"] == "application/cloudevents+json; charset=utf-8"
    delivery = read_delivery("generic", headers.items(), body, [SECRET], NOW)
    assert (delivery.id, delivery.event) == ("msg_1", HookEvent.OTHER)
    for changed in (body + b" ", body.replace(b"v2", b"v3")):
        with pytest.raises(DeliveryError):
            read_delivery("generic", headers.items(), changed, [SECRET], NOW)
    with pytest.raises(DeliveryError):
        late = NOW + timedelta(minutes=6)
        read_delivery("generic", headers.items(), body, [SECRET], late)


def test_each_attempt_is_signed_for_its_own_time() -> None:
    key = decode_key(SECRET.encode())
    first, second = (
        build_headers("msg_1", b"{}", key, NOW + n * timedelta(hours=1), {}) for n in (0, 1)
    )
    assert first["webhook-id"] == second["webhook-id"]
    assert first["webhook-signature"] != second["webhook-signature"]
