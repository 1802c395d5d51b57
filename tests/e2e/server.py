"""What the replicas of these tests run: plain Python, no third-party package.

``/`` greets, ``/healthz`` answers with the status in HEALTH (503 while there is a file ``sick`` in
the working directory), ``/env/NAME`` and ``/file/PATH`` show the digest of a variable and of a file
relative to the working directory.
"""

import hashlib
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def answer(path: str) -> str:
    verb, _, name = path.removeprefix("/").partition("/")
    if verb == "env":
        return digest(os.environ.get(name, "").encode())
    if verb == "file":
        file = Path("/" + name if name.startswith("srv/") else name)
        return digest(file.read_bytes()) if file.is_file() else "no file"
    return f"{os.environ.get('GREETING', 'Hello')}, version {os.environ['VERSION']}\n"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        is_check = self.path == "/healthz"
        body = ("ok" if is_check else answer(self.path)).encode()
        status = 503 if Path("sick").exists() else int(os.environ.get("HEALTH", "200"))
        self.send_response(status if is_check else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, pattern, *values):
        print(pattern % values, flush=True)


if __name__ == "__main__":
    host = "0.0.0.0" if Path("/.dockerenv").exists() else "127.0.0.1"
    server = ThreadingHTTPServer((host, int(os.environ["PORT"])), Handler)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print(f"version {os.environ['VERSION']} listens", flush=True)
    server.serve_forever()
