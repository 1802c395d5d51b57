"""forge alone: a commit's status, told to a forge (here a server of this script) over HTTP."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

from ctrlplane_gitops.forge.base import CommitState, CommitStatus, ForgeKind, ForgeSettings
from ctrlplane_gitops.forge.client import Forge
from ctrlplane_gitops.redact import SecretValue

told = []


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        told.append((self.path, json.loads(body)))
        self.send_response(201)
        self.end_headers()

    def log_message(self, *arguments):
        pass


with HTTPServer(("127.0.0.1", 0), Handler) as server:
    threading.Thread(target=server.handle_request, daemon=True).start()
    api = f"http://127.0.0.1:{server.server_port}"
    forge = Forge(ForgeSettings(ForgeKind.GITHUB, api, "acme/prod", SecretValue(b"a token")))
    forge.tell(CommitStatus("c0ffee", CommitState.SUCCESS, "applied", "ctrlplane/prod"))
path, body = told[0]
print(path, body["state"], body["description"])
assert path == "/repos/acme/prod/statuses/c0ffee"
