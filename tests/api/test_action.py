"""What may be done, as it reaches who does it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from ctrlplane_gitops.errors import ConflictError, GuardError, UnreachableError
from ctrlplane_gitops.state.access import Role
from tests.api.scene import Scene, bearer, check_problem

WEB = "/api/v1/instances/acme/web"
ADDRESS = "instance/acme/web"


@pytest.fixture
def scene() -> Scene:
    return Scene()


@pytest.mark.parametrize(
    ("path", "body", "call"),
    [
        ("promote", {}, ("promote", ADDRESS)),
        ("promote", {"full": True}, ("promote --full", ADDRESS)),
        ("abort", {}, ("abort", ADDRESS)),
        ("pause", {}, ("pause", ADDRESS)),
        ("resume", {}, ("resume", ADDRESS)),
        ("rollback", {}, ("rollback", ADDRESS, None, False)),
        ("rollback", {"to": 3}, ("rollback", ADDRESS, 3, False)),
        ("rollback", {"clear": True}, ("rollback", ADDRESS, None, True)),
    ],
)
def test_what_is_asked_of_an_instance_is_told_with_who_asked(
    scene: Scene, path: str, body: Any, call: tuple[Any, ...]
) -> None:
    token = scene.declare(Role.OPERATOR, "acme")
    answer = scene.client().post(f"{WEB}/{path}", json=body, headers=bearer(token))
    assert answer.status_code == 202
    assert answer.get_json()["address"] == ADDRESS
    assert scene.asked.calls == [("token:t0", *call)]


def test_a_form_of_a_page_asks_the_same(scene: Scene) -> None:
    application = scene.build()
    client = application.test_client()
    csrf = application.extensions["ctrlplane"]["guard"].sessions.sign("")
    for form, call in (({"full": "true"}, "promote --full"), ({}, "promote")):
        answer = client.post(f"{WEB}/promote", data={"csrf": csrf, **form})
        assert answer.status_code == 202
        assert scene.asked.calls[-1] == ("user:anonymous", call, ADDRESS)
    answer = client.post(f"{WEB}/rollback", data={"csrf": csrf, "to": "3"})
    assert scene.asked.calls[-1] == ("user:anonymous", "rollback", ADDRESS, 3, False)
    check_problem(client.post(f"{WEB}/promote", data={"full": "true"}), 403, "csrf")


def test_a_command_s_own_exit_code_and_output_come_back(scene: Scene) -> None:
    token = scene.declare(Role.ADMIN)
    body = {"command": ["ls", "-l"], "timeout_s": 5, "replica": 1}
    answer = scene.client().post(f"{WEB}/exec", json=body, headers=bearer(token))
    assert answer.status_code == 200
    assert answer.get_json()["exit_code"] == 7
    assert scene.asked.calls[0][3:] == (["ls", "-l"], 1, timedelta(seconds=5))


def test_nobody_who_is_unknown_runs_commands(scene: Scene) -> None:
    answer = scene.client().post(f"{WEB}/exec", json={"command": ["ls"]})
    assert "'exec'" in check_problem(answer, 403, "forbidden")["detail"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("exec", {}),
        ("exec", {"command": []}),
        ("exec", {"command": "ls"}),
        ("exec", {"command": ["x"], "timeout_s": 301}),
        ("exec", {"command": ["x"], "timeout_s": 0}),
        ("exec", {"command": ["\ud800"]}),
        ("promote", {"full": "yes"}),
        ("promote", {"fool": True}),
        ("rollback", {"to": 0}),
        ("rollback", []),
        ("abort", {"now": True}),
    ],
)
def test_a_body_that_means_nothing_is_refused(scene: Scene, path: str, body: Any) -> None:
    headers = bearer(scene.declare(Role.ADMIN))
    answer = scene.client().post(f"{WEB}/{path}", json=body, headers=headers)
    check_problem(answer, 400, "bad-body")
    assert not scene.asked.calls and not scene.bugs


def test_a_deep_or_broken_body_is_refused(scene: Scene) -> None:
    for text in ("[" * 100_000, "{", "\xff", '{"full": NaN}', "null"):
        answer = scene.client().post(
            f"{WEB}/promote", data=text, headers={"Content-Type": "application/json"}
        )
        check_problem(answer, 400, "bad-body")


def test_a_token_of_one_tenant_reconciles_that_tenant_alone(scene: Scene) -> None:
    headers = bearer(scene.declare(Role.OPERATOR, "acme"))
    client = scene.client()
    for body in ({}, {"tenant": "acme"}):
        assert client.post("/api/v1/reconcile", json=body, headers=headers).status_code == 202
        assert scene.asked.calls.pop() == ("token:t0", "reconcile", "", "acme")
    for tenant in ("beta", "nobody"):
        answer = client.post("/api/v1/reconcile", json={"tenant": tenant}, headers=headers)
        check_problem(answer, 404, "not-found")
    both = bearer(scene.declare(Role.OPERATOR, "acme", "beta"))
    check_problem(client.post("/api/v1/reconcile", json={}, headers=both), 404, "not-found")
    whole = bearer(scene.declare(Role.OPERATOR))
    assert client.post("/api/v1/reconcile", json={}, headers=whole).status_code == 202
    assert scene.asked.calls == [("token:t2", "reconcile", "", None)]


@pytest.mark.parametrize(
    ("error", "status"),
    [(ConflictError("no rollout"), 409), (GuardError("no"), 409), (UnreachableError("gone"), 503)],
)
def test_why_it_cannot_be_done_is_said_with_its_code(scene: Scene, error: Any, status: int) -> None:
    scene.asked.error = error
    answer = scene.client().post(f"{WEB}/promote", json={})
    assert check_problem(answer, status, error.code)["detail"] == error.message


def test_logs_are_read_as_far_as_is_asked(scene: Scene) -> None:
    client = scene.client()
    found = client.get(f"{WEB}/logs?tail=5&replica=1").get_json()["items"]
    assert found[0] == {
        "replica": "web.v2.0", "stream": "stdout", "at": "2026-03-01T12:00:00.000Z", "text": "hello"
    }  # fmt: skip
    assert scene.asked.calls[0][3:] == (1, 5)
    check_problem(client.get(f"{WEB}/logs?tail=5001"), 400, "bad-parameter")


@pytest.mark.parametrize("query", ["limit=0", "limit=501", "limit=x", "limit=1&limit=2", "x=1",
                                   "cursor=x", "limit=" + "9" * 30])  # fmt: skip
def test_a_parameter_that_means_nothing_is_refused(scene: Scene, query: str) -> None:
    answer = scene.client().get(f"/api/v1/instances?{query}")
    assert answer.status_code == 400
    assert answer.get_json()["code"] in ("bad-parameter", "usage")
