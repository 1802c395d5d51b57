"""What others were told, as HTTP shows it."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from ctrlplane_gitops.state.access import Role
from ctrlplane_gitops.state.notification import Attempt, MessageState
from ctrlplane_gitops.store.conformance_outbox import make_message
from ctrlplane_gitops.store.outbox import Reading
from tests.api.scene import Scene, bearer, check_problem
from tests.status.board_kit import NOW


@pytest.fixture
def scene() -> Scene:
    made = Scene()
    box = made.seen.store.outbox
    messages = tuple(make_message(n, "ops" if n % 2 else "chat") for n in range(1, 6))
    assert box.read_on(Reading(None, 1, messages=messages))
    box.end_attempt("msg_00001", Attempt(MessageState.DELIVERED, 204), NOW)
    box.end_attempt("msg_00003", Attempt(MessageState.FAILED, None, "connection refused"), NOW)
    return made


def ids(client: FlaskClient, query: str = "") -> list[int]:
    answer = client.get(f"/api/v1/messages{query}")
    assert answer.status_code == 200, answer.get_data(as_text=True)
    body: dict[str, Any] = answer.get_json()
    return [int(item["id"][4:]) for item in body["items"]]


def test_messages_are_listed_with_what_came_of_them_and_without_their_bodies(
    scene: Scene,
) -> None:
    rows = scene.client().get("/api/v1/messages?state=failed").get_json()["items"]
    (row,) = rows
    assert (row["id"], row["subscription"], row["tenant"]) == ("msg_00003", "ops", "acme")
    assert (row["state"], row["attempts"], row["status"]) == ("failed", 1, None)
    assert (row["error"], row["next_at"]) == ("connection refused", None)
    assert row["ended_at"] and "body" not in row


def test_messages_are_filtered_and_come_in_pages(scene: Scene) -> None:
    client = scene.client()
    assert ids(client) == [5, 4, 3, 2, 1]
    assert ids(client, "?subscription=ops") == [5, 3, 1]
    assert ids(client, "?subscription=ops&state=pending") == [5]
    assert ids(client, "?state=nonsense") == ids(client, "?address=instance/acme") == []
    found, cursor = [], ""
    while True:
        body = client.get(f"/api/v1/messages?limit=2{cursor}").get_json()
        found += [item["number"] for item in body["items"]]
        if body["next"] is None:
            break
        cursor = f"&cursor={body['next']}"
    assert found == [5, 4, 3, 2, 1]


def test_what_is_no_cursor_is_refused(scene: Scene) -> None:
    check_problem(scene.client().get("/api/v1/messages?cursor=x"), 400, "usage")


def test_who_may_see_some_tenants_alone_sees_no_messages(scene: Scene) -> None:
    token = scene.declare(Role.ADMIN, "acme")
    answer = scene.client().get("/api/v1/messages", headers=bearer(token))
    assert answer.status_code in (403, 404)
