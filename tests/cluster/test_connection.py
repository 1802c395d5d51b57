"""Requests over real connections, to a server that is busy, restarts, or says no."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ctrlplane_gitops.clock import FakeClock
from ctrlplane_gitops.cluster.access import Access, ExecPlugin
from ctrlplane_gitops.cluster.api import Api
from ctrlplane_gitops.cluster.connection import Connection
from ctrlplane_gitops.cluster.failure import ApiError, build_error
from ctrlplane_gitops.cluster.resource import DEPLOYMENT, POD
from ctrlplane_gitops.errors import UnreachableError, UsageError
from ctrlplane_gitops.redact import SecretValue
from ctrlplane_gitops.value import replace
from tests.cluster.api_server import ApiServer, Reply, api_server

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
BUSY = Reply(429, {"reason": "TooManyRequests", "message": "later"}, {"Retry-After": "0"})
CONFLICT = {
    "reason": "Conflict",
    "message": 'Apply failed with 1 conflict: conflict with "kubectl" using apps/v1',
    "details": {
        "causes": [
            {
                "reason": "FieldManagerConflict",
                "message": 'conflict with "kubectl" using apps/v1',
                "field": ".spec.replicas",
            }
        ]
    },
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ApiServer]:
    with api_server(tmp_path) as server:
        yield server


@pytest.fixture
def access(server: ApiServer, tmp_path: Path) -> Access:
    return Access(
        server.url, "a test", ca=(tmp_path / "ca.crt").read_bytes(), token=SecretValue(b"t0ken")
    )


@pytest.fixture
def api(access: Access) -> Iterator[Api]:
    connection = Connection(access, timeout_s=5)
    yield Api(connection)
    connection.close()


def test_a_request_says_who_we_are(server: ApiServer, api: Api) -> None:
    server.replies = [Reply(body={"kind": "Pod"})]
    assert api.get(POD, "prod", "web") == {"kind": "Pod"}
    [asked] = server.asked
    assert asked.headers["Authorization"] == "Bearer t0ken"
    assert asked.path == "/api/v1/namespaces/prod/pods/web"


def test_a_server_that_is_busy_is_asked_again(server: ApiServer, api: Api) -> None:
    server.replies = [BUSY, BUSY, Reply(body={"kind": "Pod"})]
    assert api.get(POD, "prod", "web") == {"kind": "Pod"}
    assert len(server.asked) == 3


def test_a_server_that_is_busy_for_long_is_left_for_later(server: ApiServer, api: Api) -> None:
    server.replies = [replace_header(BUSY, "3600")]
    with pytest.raises(ApiError) as caught:
        api.get(POD, "prod", "web")
    assert caught.value.is_retryable
    assert caught.value.retry_after_s == 3600
    assert len(server.asked) == 1


def replace_header(reply: Reply, seconds: str) -> Reply:
    return Reply(reply.status, reply.body, {"Retry-After": seconds})


def test_a_cut_connection_is_tried_once_more(server: ApiServer, api: Api) -> None:
    server.replies = [Reply(is_cut=True), Reply(body={"kind": "Pod"})]
    assert api.get(POD, "prod", "web") == {"kind": "Pod"}


def test_what_may_have_been_made_is_not_made_again(server: ApiServer, api: Api) -> None:
    server.replies = [Reply(is_cut=True), Reply(201)]
    with pytest.raises(UnreachableError):
        api.create(POD, {"metadata": {"name": "web", "namespace": "prod"}})
    assert len(server.asked) == 1


def test_a_server_that_is_gone_is_unreachable(server: ApiServer, access: Access) -> None:
    server.shutdown()
    server.server_close()
    connection = Connection(access, timeout_s=5)
    with pytest.raises(UnreachableError, match="connection refused"):
        Api(connection).get(POD, "prod", "web")


def test_a_server_of_another_authority_is_not_told_our_token(
    server: ApiServer, access: Access
) -> None:
    connection = Connection(replace(access, ca=None), timeout_s=5)
    with pytest.raises(UnreachableError, match="certificate verify failed"):
        Api(connection).get(POD, "prod", "web")
    assert server.asked == []


def test_what_is_not_there_is_none_and_gone(server: ApiServer, api: Api) -> None:
    server.replies = [Reply(404, {"reason": "NotFound", "message": "not found"})]
    assert api.get(POD, "prod", "web") is None
    assert api.delete(POD, "prod", "web") is False


def test_a_list_is_read_page_by_page(server: ApiServer, api: Api) -> None:
    server.replies = [
        Reply(body={"items": [{"n": 1}, {"n": 2}], "metadata": {"continue": "more"}}),
        Reply(body={"items": [{"n": 3}], "metadata": {}}),
    ]
    assert api.read_all(DEPLOYMENT, {"a": "b"}, lambda item: item["n"]) == [1, 2, 3]
    assert "labelSelector=a%3Db" in server.asked[0].path
    assert "continue=more" in server.asked[1].path


def test_a_list_that_has_run_out_is_begun_again(server: ApiServer, api: Api) -> None:
    server.replies = [
        Reply(body={"items": [{"n": 1}], "metadata": {"continue": "more"}}),
        Reply(410, {"reason": "Expired", "message": "too old"}),
        Reply(body={"items": [{"n": 4}]}),
    ]
    assert api.read_all(DEPLOYMENT, {}, lambda item: item["n"]) == [4]


def test_a_field_of_somebody_else_is_named_with_its_owner(server: ApiServer, api: Api) -> None:
    server.replies = [Reply(409, CONFLICT)]
    with pytest.raises(ApiError) as caught:
        api.apply(DEPLOYMENT, {"metadata": {"name": "web", "namespace": "prod"}})
    assert caught.value.owners == {".spec.replicas": 'conflict with "kubectl" using apps/v1'}
    assert not caught.value.is_retryable
    assert "force=false" in server.asked[0].path


@pytest.mark.parametrize(
    ("status", "body", "is_retryable"),
    [
        (409, {"reason": "Conflict", "message": "the object has been modified"}, True),
        (409, {"reason": "AlreadyExists", "message": "exists"}, False),
        (422, {"reason": "Invalid", "message": "spec.selector is immutable"}, False),
        (500, {"message": "etcdserver: request timed out"}, True),
        (500, {"message": ".spec.x: field not declared in schema"}, False),
        (403, {"reason": "Forbidden", "message": "exceeded quota"}, False),
        (
            403,
            {
                "reason": "Forbidden",
                "message": "unable to create new content",
                "details": {"causes": [{"reason": "NamespaceTerminating"}]},
            },
            True,
        ),
        (400, {"message": 'admission webhook "x" denied the request'}, False),
        (503, {"message": "shutting down"}, True),
        (502, "<html>", True),
    ],
)
def test_what_may_pass_by_itself_is_retryable(
    status: int, body: object, is_retryable: bool
) -> None:
    error = build_error("apply it", status, {}, json.dumps(body).encode())
    assert error.is_retryable is is_retryable


PLUGIN = """#!/bin/sh
echo run >> "$(dirname "$0")/runs"
printf '{"status": {"token": "fresh-%s", "expirationTimestamp": "2026-03-01T13:00:00Z"}}' \
  "$(wc -l < "$(dirname "$0")/runs" | tr -d ' ')"
"""


def write_plugin(folder: Path, text: str = PLUGIN) -> ExecPlugin:
    path = folder / "plugin"
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return ExecPlugin("./plugin", folder=str(folder))


def test_a_program_is_run_once_until_what_it_said_runs_out(
    server: ApiServer, access: Access, tmp_path: Path
) -> None:
    clock = FakeClock(NOW)
    plugged = replace(access, token=None, plugin=write_plugin(tmp_path))
    connection = Connection(plugged, timeout_s=5, clock=clock)
    api = Api(connection)
    api.get(POD, "prod", "web")
    api.get(POD, "prod", "web")
    clock.advance(timedelta(hours=1))
    api.get(POD, "prod", "web")
    said = [asked.headers["Authorization"] for asked in server.asked]
    assert said == ["Bearer fresh-1", "Bearer fresh-1", "Bearer fresh-2"]
    connection.close()


def test_a_credential_that_is_not_valid_any_more_is_renewed_once(
    server: ApiServer, access: Access, tmp_path: Path
) -> None:
    plugged = replace(access, token=None, plugin=write_plugin(tmp_path))
    connection = Connection(plugged, timeout_s=5, clock=FakeClock(NOW))
    server.replies = [Reply(401, {"message": "Unauthorized"})]
    with pytest.raises(ApiError, match="Unauthorized"):
        Api(connection).get(POD, "prod", "web")
    assert [asked.headers["Authorization"][-1] for asked in server.asked] == ["1", "2"]
    connection.close()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("#!/bin/sh\nexit 3\n", "failed with 3"),
        ("#!/bin/sh\necho s3cret\n", "no credential"),
    ],
)
def test_a_program_that_says_nothing_useful_is_named_and_not_quoted(
    access: Access, tmp_path: Path, text: str, words: str
) -> None:
    plugged = replace(access, token=None, plugin=write_plugin(tmp_path, text))
    with pytest.raises(UsageError, match=words) as caught:
        Api(Connection(plugged)).get(POD, "prod", "web")
    assert "s3cret" not in str(caught.value)


def test_a_token_file_is_read_again(server: ApiServer, access: Access, tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("one\n")
    clock = FakeClock(NOW)
    connection = Connection(replace(access, token=None, token_file=str(path)), 5, clock)
    Api(connection).get(POD, "prod", "web")
    path.write_text("two\n")
    clock.advance(timedelta(minutes=2))
    Api(connection).get(POD, "prod", "web")
    assert [asked.headers["Authorization"][7:] for asked in server.asked] == ["one", "two"]
    connection.close()
