"""Servers that take commit statuses as the forges document it, and refuse what those refuse."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.http.thread import served

TOKEN = "glpat-0123456789abcdefghij"
REPOSITORY = "acme/prod"


class ForgeServer(ThreadingHTTPServer):
    """``statuses`` are those that were set, in order: commit, state, description, label, URL.
    ``refusals`` are answered first, each once: a status and headers."""

    daemon_threads = True

    def __init__(self, kind: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.kind = kind
        self.lock = Lock()
        self.statuses: list[tuple[str, str, str, str, str | None]] = []
        self.refusals: list[tuple[int, Mapping[str, str]]] = []
        self.asked = 0

    @property
    def api(self) -> str:
        base = {"github": "", "gitlab": "/api/v4"}.get(self.kind, "/api/v1")
        return f"http://127.0.0.1:{self.server_port}{base}"

    def states(self, commit: str) -> list[str]:
        return [row[1] for row in self.statuses if row[0] == commit]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone."""


class _Handler(BaseHTTPRequestHandler):
    server: ForgeServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        with self.server.lock:
            self.server.asked += 1
            refusal = self.server.refusals.pop(0) if self.server.refusals else None
        status, body, headers = (*self._judge(raw), {}) if refusal is None else (
            refusal[0], {"message": "refused"}, refusal[1]
        )  # fmt: skip
        content = json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _judge(self, raw: bytes) -> tuple[int, dict[str, Any]]:
        kind = self.server.kind
        if self.headers["Content-Type"] != "application/json":
            return 415, {"message": "unsupported"}
        if kind == "github" and self.headers["X-GitHub-Api-Version"] != "2022-11-28":
            return 400, {"message": "no such version"}
        if not self._is_let_in(kind):
            return 401, {"message": "Bad credentials"}
        base = urlsplit(self.server.api).path
        project = REPOSITORY.replace("/", "%2F") if kind == "gitlab" else REPOSITORY
        folder = "projects" if kind == "gitlab" else "repos"
        prefix = f"{base}/{folder}/{project}/statuses/"
        if not self.path.startswith(prefix):
            return 404, {"message": "Not Found"}
        return self._set(kind, unquote(self.path.removeprefix(prefix)), json.loads(raw))

    def _is_let_in(self, kind: str) -> bool:
        if kind == "gitlab":
            return bool(self.headers["PRIVATE-TOKEN"] == TOKEN)
        scheme = "Bearer" if kind == "github" else "token"
        return bool(self.headers["Authorization"] == f"{scheme} {TOKEN}")

    def _set(self, kind: str, commit: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        states = {
            "github": {"error", "failure", "pending", "success"},
            "gitlab": {"pending", "running", "success", "failed", "canceled", "skipped"},
        }.get(kind, {"pending", "success", "error", "failure", "warning"})
        label = "name" if kind == "gitlab" else "context"
        limit = 140 if kind == "github" else 255
        known = {"state", "description", "target_url", label}
        if body["state"] not in states or body.keys() - known or len(commit) != 40:
            return 422 if kind == "github" else 400, {"message": "Validation Failed"}
        if len(body["description"]) > limit:
            return 422 if kind == "github" else 400, {"message": "description is too long"}
        with self.server.lock:
            if kind == "gitlab" and self.server.states(commit)[-1:] == [body["state"]]:
                state = body["state"]
                return 400, {"message": f"Cannot transition status via :enqueue from :{state}"}
            self.server.statuses.append(
                (commit, body["state"], body["description"], body[label], body.get("target_url"))
            )
        return 201, {"id": 1, "status": body["state"]}

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@contextmanager
def forge_server(kind: str) -> Iterator[ForgeServer]:
    with ForgeServer(kind) as server, served(server):
        yield server
