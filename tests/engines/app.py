"""The application in the test image: answers ``/`` with its VERSION, ``/healthz`` with ok."""

import os
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        texts = {"/": os.environ.get("VERSION", "none"), "/healthz": "ok"}
        body = texts.get(self.path, "not found").encode()
        self.send_response(200 if self.path in texts else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, text, *args):
        print(text % args, flush=True)


def main():
    server = ThreadingHTTPServer(("0.0.0.0", int(os.environ.get("PORT", "8080"))), Handler)

    def leave(*_):
        print("stopping", flush=True)
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, leave)
    print(f"listening on {server.server_port}", flush=True)
    server.serve_forever()
    sys.exit(0)


if __name__ == "__main__":
    main()
