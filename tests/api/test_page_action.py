"""The buttons of the pages: what they do, for whom, and from where alone."""

from __future__ import annotations

from typing import Any

import pytest

from ctrlplane_gitops.api.page_frame import DONE
from ctrlplane_gitops.errors import ConflictError
from ctrlplane_gitops.state.access import Role
from tests.api.page_kit import csrf_of, make_waiting, open_page, read_page
from tests.api.scene import Scene
from tests.status.board_kit import WEB

ORIGIN = {"Origin": "http://localhost"}
BUTTONS = (
    ("/instances/acme/web/promote", {}, ("promote",)),
    ("/instances/acme/web/pause", {}, ("pause",)),
    ("/instances/acme/web/resume", {}, ("resume",)),
    ("/instances/acme/web/abort", {}, ("abort",)),
    ("/instances/acme/web/rollback", {"to": "1"}, ("rollback", 1, False)),
    ("/instances/acme/web/rollback", {"clear": "true"}, ("rollback", None, True)),
    ("/instances/acme/web/run-check", {}, ("run-check",)),
    ("/reconcile", {}, ("reconcile", "", None)),
    ("/workers/reconciler/run", {}, ("run", "", "reconciler")),
)


@pytest.fixture
def scene() -> Scene:
    return Scene()


@pytest.mark.parametrize(("path", "sent", "asked"), BUTTONS, ids=lambda item: str(item))
def test_a_button_does_what_the_api_does_and_leads_back(
    scene: Scene, path: str, sent: dict[str, str], asked: tuple[Any, ...]
) -> None:
    token, client = scene.declare(Role.ADMIN), scene.client()
    client.post("/login", json={"token": token})
    csrf = csrf_of(client.get("/login").text)
    answer = client.post(path, data={**sent, "csrf": csrf}, headers=ORIGIN)
    assert answer.status_code == 303, answer.text
    page = open_page(client, answer.headers["Location"])
    assert any(text in page.text for text in DONE.values())
    [(actor, *call)] = scene.asked.calls
    assert actor == "token:t0"
    assert [item for item in call if item != WEB.address] == list(asked)


@pytest.mark.parametrize(("path", "sent", "asked"), BUTTONS, ids=lambda item: str(item))
def test_a_button_works_from_our_own_pages_alone(
    scene: Scene, path: str, sent: dict[str, str], asked: tuple[Any, ...]
) -> None:
    client = scene.client()
    csrf = csrf_of(client.get("/login").text)
    for data, headers in (
        (sent, ORIGIN),
        ({**sent, "csrf": "wrong"}, ORIGIN),
        ({**sent, "csrf": csrf}, {"Origin": "http://evil.example"}),
        ({**sent, "csrf": csrf}, {"Sec-Fetch-Site": "cross-site"}),
    ):
        answer = client.post(path, data=data, headers=headers)
        assert answer.status_code == 403
        read_page(answer.text)
    assert client.get(path).status_code == 405
    assert scene.asked.calls == []


def test_who_may_only_look_is_offered_no_button_and_refused_what_one_does(scene: Scene) -> None:
    make_waiting(scene)
    token, client = scene.declare(Role.VIEWER), scene.client()
    client.post("/login", json={"token": token})
    for path in ("/tenants/acme/instances/web", "/plan", "/workers"):
        assert set(open_page(client, path).forms) == {"/logout"}
    csrf = csrf_of(client.get("/login").text)
    answer = client.post("/instances/acme/web/promote", data={"csrf": csrf}, headers=ORIGIN)
    assert answer.status_code == 403
    assert scene.asked.calls == []


def test_a_button_about_another_tenant_is_about_nothing(scene: Scene) -> None:
    token, client = scene.declare(Role.ADMIN, "acme"), scene.client()
    client.post("/login", json={"token": token})
    csrf = csrf_of(client.get("/login").text)
    answer = client.post("/instances/beta/web/abort", data={"csrf": csrf}, headers=ORIGIN)
    assert answer.status_code == 404
    assert scene.asked.calls == []


def test_what_cannot_be_done_now_is_told_on_a_page(scene: Scene) -> None:
    scene.asked.error = ConflictError("the rollout of instance/acme/web is not paused")
    client = scene.client()
    csrf = csrf_of(client.get("/login").text)
    answer = client.post("/instances/acme/web/resume", data={"csrf": csrf}, headers=ORIGIN)
    assert answer.status_code == 409
    assert "is not paused" in read_page(answer.text).text


def test_a_rollout_that_waits_offers_what_may_be_asked_of_it(scene: Scene) -> None:
    make_waiting(scene)
    forms = open_page(scene.client(), "/tenants/acme/instances/web").forms
    offered = {form.rpartition("/")[2] for form in forms}
    assert offered >= {"promote", "pause", "abort", "run-check"}
    assert "resume" not in offered
