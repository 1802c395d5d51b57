"""What is asked of ``serve`` over HTTP is done by its passes, and written down with who asked."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from ctrlplane_gitops.auth.tokens import digest_of, new_token
from tests.e2e.plane import Plane, wait_until
from tests.e2e.serve_kit import RARELY, Serve, serving

WEB = "instance/acme/web"
FILE = "tenants/acme.yaml"
PATH = "/api/v1/instances/acme/web"
V2 = ('VERSION: "1"', 'VERSION: "2"')
HELLO = "Hello from acme, version {}\n"
MANUAL = (
    "{type: rolling, minReady: 200ms,",
    "{type: canary, canary: {steps: [{weight: 50, pause: manual}]}, minReady: 200ms,",
)


class Client:
    """Somebody with a token."""

    def __init__(self, serve: Serve, token: str) -> None:
        self._serve, self._token = serve, token

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        request = urllib.request.Request(self._serve.url + path, method=method)
        request.add_header("Authorization", f"Bearer {self._token}")
        data = None
        if body is not None:
            request.add_header("Content-Type", "application/json")
            data = json.dumps(body).encode()
        try:
            with urllib.request.urlopen(request, data, timeout=15) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())

    def ok(self, method: str, path: str, body: Any = None) -> Any:
        status, found = self.ask(method, path, body)
        assert status in (200, 202), found
        return found

    @contextmanager
    def follow(self, path: str) -> Iterator[http.client.HTTPResponse]:
        host = self._serve.url.partition("://")[2]
        connection = http.client.HTTPConnection(host, timeout=15)
        try:
            connection.request("GET", path, headers={"Authorization": f"Bearer {self._token}"})
            yield connection.getresponse()
        finally:
            connection.close()


def messages(answer: http.client.HTTPResponse) -> Iterator[tuple[str, Any]]:
    """The messages of a stream as they come: event and data."""
    event = ""
    while line := answer.readline().decode().rstrip("\n"):
        name, _, value = line.partition(": ")
        if name == "event":
            event = value
        if name == "data":
            yield event, json.loads(value)
        if name in ("data", "retry"):
            answer.readline()


@pytest.fixture
def tokens(local: Plane) -> dict[str, str]:
    """Two tenants, committed; who may what is declared. Nothing is applied."""
    local.begin("acme", "globex")
    made = {name: new_token() for name in ("root", "ops", "view", "globex")}
    rows = [
        f'    - {{name: root, sha256: "{digest_of(made["root"])}", role: admin}}',
        f'    - {{name: ops, sha256: "{digest_of(made["ops"])}", role: operator, tenants: [acme]}}',
        f'    - {{name: view, sha256: "{digest_of(made["view"])}"}}',
        f'    - {{name: globex, sha256: "{digest_of(made["globex"])}", role: admin,'
        " tenants: [globex]}",
    ]
    local.edit(
        "ctrlplane.yaml", "spec:\n", "spec:\n  access:\n   tokens:\n" + "\n".join(rows) + "\n"
    )
    return made


@contextmanager
def serving_for(plane: Plane, tokens: dict[str, str]) -> Iterator[tuple[Serve, dict[str, Client]]]:
    with serving(plane, *RARELY) as serve:
        serve.wait_for("pass applied")
        yield serve, {name: Client(serve, token) for name, token in tokens.items()}


def is_answered_by(plane: Plane, version: int) -> bool:
    """By no other, and by nobody who is about to end."""
    with suppress(OSError):
        return set(plane.answers(WEB)) == {HELLO.format(version)}
    return False


def test_a_rollout_is_promoted_and_rolled_back_and_the_audit_names_the_token(
    local: Plane, tokens: dict[str, str]
) -> None:
    local.edit(FILE, *MANUAL)
    with serving_for(local, tokens) as (serve, clients):
        ops = clients["ops"]
        assert serve.get("/api/v1/instances")[0] == 401
        assert ops.ask("POST", f"{PATH}/promote", {})[1]["code"] == "conflict"
        local.edit(FILE, *V2)
        serve.wait_for("pass waiting")
        wait_until(lambda: ops.ok("GET", f"{PATH}/rollout")["waits_for"] == "waits for promote")
        assert ops.ok("GET", f"{PATH}/rollout")["steps"] == [{"weight": 50, "pause_s": None}]
        assert clients["view"].ask("POST", f"{PATH}/promote", {})[0] == 403
        assert clients["globex"].ask("POST", f"{PATH}/promote", {})[0] == 404

        ops.ok("POST", f"{PATH}/promote", {})
        serve.wait_for("rollout.completed", WEB, "v2")
        assert set(local.answers(WEB)) == {HELLO.format(2)}

        assert ops.ask("POST", f"{PATH}/rollback", {"to": 7})[1]["code"] == "conflict"
        said = ops.ok("POST", f"{PATH}/rollback", {})
        assert said == {"address": WEB, "said": "v1 will be pinned"}
        serve.wait_for("release.pinned", WEB)
        wait_until(lambda: is_answered_by(local, 1))
        detail = ops.ok("GET", PATH)
        assert (detail["pin"], [item["is_pinned"] for item in detail["releases"]]) == (
            1, [False, True],
        )  # fmt: skip

        ops.ok("POST", f"{PATH}/rollback", {"clear": True})
        serve.wait_for("release.unpinned", WEB)
        audit = ops.ok("GET", "/api/v1/audit?actor=token:ops")["items"]
        assert [item["action"] for item in audit] == [
            "rollback --clear", "rollback to v1", "promote v2",
        ]  # fmt: skip
        assert clients["globex"].ok("GET", "/api/v1/audit?actor=token:ops")["items"] == []


def test_a_command_runs_in_a_replica_and_its_logs_and_checks_are_read(
    local: Plane, tokens: dict[str, str]
) -> None:
    with serving_for(local, tokens) as (_, clients):
        root = clients["root"]
        script = "import os, sys; print(os.environ['GREETING']); sys.exit(7)"
        found = root.ok("POST", f"{PATH}/exec", {"command": ["python3", "-c", script]})
        assert (found["exit_code"], found["output"]) == (7, "Hello from acme\n")
        assert not found["is_truncated"]
        loud = ["python3", "-c", "print('x' * 3_000_000)"]
        found = root.ok("POST", f"{PATH}/exec", {"command": loud})
        assert (len(found["output"]), found["is_truncated"]) == (1024 * 1024, True)
        slow = {"command": ["sleep", "60"], "timeout_s": 0.2}
        status, problem = root.ask("POST", f"{PATH}/exec", slow)
        assert (status, problem["code"]) == (502, "provider")
        assert clients["ops"].ask("POST", f"{PATH}/exec", {"command": ["id"]})[0] == 403
        outcomes = [
            item["outcome"]
            for item in root.ok("GET", "/api/v1/audit?action=exec%20python3")["items"]
        ]
        assert outcomes[0] == "exit 0" and outcomes[2] == "exit 7"

        check = clients["ops"].ok("POST", f"{PATH}/run-check", {})
        [replica] = check["replica_sets"][0]["replicas"]
        assert replica["is_ready"] is True
        with clients["view"].follow(f"{PATH}/logs/stream?tail=1") as stream:
            found = messages(stream)
            assert next(found)[1]["replica"] == replica["name"]
            local.answers(WEB)
            assert next(found)[0] == "log"
        lines = clients["view"].ok("GET", f"{PATH}/logs?tail=1")["items"]
        assert len(lines) == 1 and lines[0]["replica"] == replica["name"]


def test_commands_leave_threads_for_those_who_ask_for_something_else(
    local: Plane, tokens: dict[str, str]
) -> None:
    with serving_for(local, tokens) as (_, clients):
        root, body = clients["root"], {"command": ["sleep", "3"]}

        def execute() -> int:
            return root.ask("POST", f"{PATH}/exec", body)[0]

        with ThreadPoolExecutor(10) as pool:
            codes = list(pool.map(lambda _: execute(), range(10)))
        assert sorted(codes) == [200] * 8 + [503] * 2
        assert root.ok("POST", f"{PATH}/exec", {"command": ["true"]})["exit_code"] == 0


def test_a_killed_replica_is_back_when_somebody_asks_for_a_pass(
    local: Plane, tokens: dict[str, str]
) -> None:
    with serving_for(local, tokens) as (_, clients):
        [name] = local.replicas(WEB)
        local.kill(name)
        said = clients["ops"].ok("POST", "/api/v1/reconcile", {})
        assert said["address"] == "tenant/acme"
        wait_until(lambda: bool(local.events("instance.repaired")))
        runs = serve_runs(clients["root"], "garbage-collector")
        clients["root"].ok("POST", "/api/v1/workers/garbage-collector/run", {})
        wait_until(lambda: serve_runs(clients["root"], "garbage-collector") > runs)
        assert clients["root"].ask("POST", "/api/v1/workers/nobody/run", {})[0] == 404


def serve_runs(client: Client, worker: str) -> int:
    runs: int = client.ok("GET", f"/api/v1/workers/{worker}")["runs"]
    return runs


def test_who_follows_hears_of_it_as_it_happens(local: Plane, tokens: dict[str, str]) -> None:
    with serving_for(local, tokens) as (serve, clients):
        stream = f"{PATH}/rollout/stream"
        with (
            clients["ops"].follow("/api/v1/events/stream") as events,
            clients["ops"].follow(stream) as rollout,
        ):
            assert events.headers["Content-Type"].startswith("text/event-stream")
            moves = messages(rollout)
            before = next(moves)[1]
            assert before["phase"] == "idle"
            local.edit("tenants/globex.yaml", *V2)
            local.edit(FILE, *V2)
            heard = []
            for _, item in messages(events):
                heard.append(item)
                if item["type"] == "rollout.completed":
                    break
            assert {item["tenant"] for item in heard} == {"acme"}
            numbers = [item["number"] for item in heard]
            assert numbers == sorted(set(numbers))
            # How much of a quick rollout is seen is a matter of luck, that it moved is not.
            assert next(moves)[1] != before
            # Both are open: who stops waits for neither.
            code, took_s = serve.stop()
            assert code == 0 and took_s < 10


def test_a_token_that_is_taken_out_of_git_lets_nobody_in_any_more(
    local: Plane, tokens: dict[str, str]
) -> None:
    with serving_for(local, tokens) as (_, clients):
        assert clients["view"].ask("GET", "/api/v1/tenants")[0] == 200
        local.edit("ctrlplane.yaml", digest_of(tokens["view"]), digest_of(new_token()))
        wait_until(lambda: clients["view"].ask("GET", "/api/v1/tenants")[0] == 401)
        assert clients["root"].ask("GET", "/api/v1/tenants")[0] == 200


def test_an_address_that_others_reach_is_closed_without_tokens(local: Plane) -> None:
    local.begin("acme")
    process = local.start("serve", "--listen", "0.0.0.0:0", *RARELY)
    try:
        assert process.stderr is not None
        port, is_told = 0, False
        for line in process.stderr:
            local.said.append(line)
            is_told = is_told or "needs one of the tokens" in line
            if "listening on" in line:
                port = int(line.rsplit(":", 1)[1])
            if "pass applied" in line:
                break
        assert is_told
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        for path, status in (("/healthz", 200), ("/readyz", 200), ("/metrics", 401), ("/", 303)):
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == status, path
        connection.close()
    finally:
        process.terminate()
        process.communicate(timeout=20)
    assert process.returncode == 0
