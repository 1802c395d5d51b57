"""The least a webhook can be: ``python -m tests.bench.empty_hook`` prints its URL and answers 202
to what is signed. The framework, server and threads are those of ours; nothing is remembered."""

from __future__ import annotations

import hmac
import sys
from datetime import timedelta

from flask import Flask, Response, request

from ctrlplane_gitops.api.server import Server, bind, url_of
from tests.bench.hook_client import SECRET


def build() -> Flask:
    application = Flask("empty", static_folder=None, template_folder=None)

    @application.post("/hooks/github")
    def receive() -> Response:
        made = "sha256=" + hmac.digest(SECRET.encode(), request.get_data(), "sha256").hex()
        given = request.headers.get("X-Hub-Signature-256", "")
        return Response(status=202 if hmac.compare_digest(made, given) else 401)

    return application


def main() -> None:
    listening = bind("127.0.0.1", 0)
    server = Server(build(), listening)
    server.start()
    print(url_of(listening), flush=True)
    sys.stdin.read()
    server.stop(timedelta(seconds=1))


if __name__ == "__main__":
    main()
