"""A small web application: it greets, and says whether it is healthy."""

import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/healthz":
            text = "ok\n"
        else:
            text = f"{os.environ.get('GREETING', 'Hello')}, version {os.environ['VERSION']}\n"
        body = text.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, pattern, *values):
        print(pattern % values, flush=True)


# The port is given: every replica has its own.
host = "0.0.0.0" if os.path.exists("/.dockerenv") else "127.0.0.1"
server = ThreadingHTTPServer((host, int(os.environ["PORT"])), Handler)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print(f"listening on {os.environ['PORT']}", flush=True)
server.serve_forever()
