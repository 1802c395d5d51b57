"""What is answered, and that every error is a problem document."""

from __future__ import annotations

import pytest

from ctrlplane_gitops.api.application import MAX_BODY
from ctrlplane_gitops.errors import StoreError
from tests.api.scene import Scene, check_problem

PATHS = ("/healthz", "/readyz", "/metrics", "/api/v1/status", "/api/v1/workers")


@pytest.fixture
def scene() -> Scene:
    return Scene()


@pytest.mark.parametrize("path", PATHS)
def test_every_path_answers(scene: Scene, path: str) -> None:
    answer = scene.client().get(path)
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_readiness_says_why_it_is_not(scene: Scene) -> None:
    scene.reason = "no pass has succeeded yet"
    client = scene.client()
    assert check_problem(client.get("/readyz"), 503, "not-ready")["detail"] == scene.reason
    # The process lives all the same: nobody should restart it for that.
    assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    "path", ["/nowhere", "/api", "/api/v1", "/metrics/", "/healthz/x", "/statics/a"]
)
def test_what_is_not_there_is_a_problem(scene: Scene, path: str) -> None:
    check_problem(scene.client().get(path), 404, "not-found")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_nothing_can_be_changed(scene: Scene, path: str, method: str) -> None:
    answer = scene.client().open(path, method=method)
    check_problem(answer, 405, "method-not-allowed")
    assert set(answer.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}


@pytest.mark.parametrize("path", PATHS)
def test_a_large_body_is_refused_although_nobody_would_read_it(scene: Scene, path: str) -> None:
    answer = scene.client().get(path, environ_overrides={"CONTENT_LENGTH": str(MAX_BODY + 1)})
    check_problem(answer, 413, "too-large")


def test_what_is_not_to_be_had_now_is_said_with_its_code(scene: Scene) -> None:
    scene.error = StoreError("the store is gone")
    body = check_problem(scene.client().get("/api/v1/status"), 503, "store")
    assert body["detail"] == "the store is gone"


def test_a_bug_shows_nothing_to_the_client(scene: Scene) -> None:
    scene.error = ValueError("s3cret")
    answer = scene.client().get("/api/v1/status")
    check_problem(answer, 500, "bug")
    assert "s3cret" not in answer.get_data(as_text=True)
    assert scene.bugs == [scene.error]


@pytest.mark.parametrize(
    ("host", "status"),
    [("127.0.0.1:8321", 200), ("localhost", 200), ("[::1]:80", 200), ("evil.example", 400)],
)
def test_a_name_that_leads_here_is_not_ours(scene: Scene, host: str, status: int) -> None:
    client = scene.client(("localhost", "127.0.0.1", "::1"))
    for path in (*PATHS, "/nothing"):
        answer = client.get(path, headers={"Host": host})
        if status == 400:
            check_problem(answer, 400, "bad-request")
        else:
            assert answer.status_code in (200, 404)
