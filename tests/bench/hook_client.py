"""Who sends webhooks: ``python -m tests.bench.hook_client URL`` reads an order from its input, one
line of JSON (see ``Order``), and answers with one: how often each status came, and the times.

Requests are made before the time is taken, and sent over connections that are kept. With a rate
they are sent at times fixed beforehand, whether or not those before have been answered in time.
"""

from __future__ import annotations

import hmac
import json
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ctrlplane_gitops.clock import monotonic_s, sleep

SECRET = "9f86d081884c7d659a2feaa0c55ad015"
# As large as the push of a forge.
_PADDING = "x" * 6500


@dataclass(frozen=True, slots=True)
class Order:
    """``count`` deliveries over ``connections``, ``rate`` a second (0: each as soon as the one
    before is answered). The n-th announces the n-th of ``commits`` (the last one from there on),
    and before it is sent, the file ``ref`` is made to name that commit, where there is one."""

    count: int
    connections: int = 8
    rate: float = 0
    commits: Sequence[str] = ()
    ref: str = ""
    name: str = "refs/heads/main"


@dataclass(frozen=True, slots=True)
class Told:
    """``statuses`` counts answers by status, "0" for none. Times are seconds; ``began`` is one of
    ``monotonic_s``."""

    began: float
    statuses: dict[str, int]
    took_s: float
    p50_s: float
    p99_s: float
    worst_s: float

    @property
    def per_second(self) -> float:
        return sum(self.statuses.values()) / self.took_s


class HookClient:
    """The sender, in a process of its own."""

    def __init__(self, url: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def send(self, order: Order) -> Told:
        self.begin(order)
        return self.end()

    def begin(self, order: Order) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asdict(order)) + "\n")
        self._process.stdin.flush()

    def end(self) -> Told:
        assert self._process.stdout is not None
        return Told(**json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()
        self._process.wait()


def make_request(host: str, number: int, commit: str, ref: str, run: int) -> bytes:
    body = json.dumps({"ref": ref, "after": commit, "number": [run, number], "x": _PADDING})
    signature = hmac.digest(SECRET.encode(), body.encode(), "sha256").hex()
    lines = [
        "POST /hooks/github HTTP/1.1",
        f"Host: {host}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "X-GitHub-Event: push",
        f"X-GitHub-Delivery: {run}-{number}",
        f"X-Hub-Signature-256: sha256={signature}",
    ]
    return ("\r\n".join([*lines, "", ""]) + body).encode()


class _Line:
    """A connection that is opened again where it was closed."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._socket: socket.socket | None = None

    def ask(self, request: bytes) -> int:
        """The status of the answer, 0 where there is none."""
        try:
            if self._socket is None:
                self._socket = socket.create_connection(self._address, timeout=30)
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.sendall(request)
            return self._read(self._socket)
        except OSError:
            self.close()
            return 0

    def _read(self, connection: socket.socket) -> int:
        head = b""
        while b"\r\n\r\n" not in head:
            part = connection.recv(65536)
            if not part:
                raise ConnectionResetError
            head += part
        head, _, body = head.partition(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        length = next(int(line[15:]) for line in lines if line.startswith(b"content-length:"))
        while len(body) < length:
            body += connection.recv(65536)
        return int(head.split(b" ", 2)[1])

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket = None


def send_all(url: str, order: Order, run: int) -> Told:
    parts = urlsplit(url)
    address = (parts.hostname or "", parts.port or 80)
    commits = order.commits or ["0" * 39 + "1"]
    requests = [
        make_request(parts.netloc, number, commits[min(number, len(commits) - 1)], order.name, run)
        for number in range(order.count)
    ]
    found: list[tuple[int, float]] = []
    lock = threading.Lock()
    numbers = iter(range(order.count))
    began = monotonic_s() + 0.05

    def work() -> None:
        line = _Line(address)
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                line.close()
                return
            planned = began + (number / order.rate if order.rate else 0)
            due = planned if order.rate else max(planned, monotonic_s())
            sleep(max(0.0, due - monotonic_s()))
            if order.ref:
                _move(order.ref, commits[min(number, len(commits) - 1)], number)
            status = line.ask(requests[number])
            with lock:
                found.append((status, monotonic_s() - due))

    threads = [threading.Thread(target=work) for _ in range(order.connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = monotonic_s() - began
    times = sorted(time for _, time in found)
    statuses = Counter(str(status) for status, _ in found)
    at = [times[min(len(times) - 1, int(len(times) * share))] for share in (0.5, 0.99)]
    return Told(began, dict(statuses), took, at[0], at[1], times[-1])


_moving = threading.Lock()
_moved = -1


def _move(ref: str, commit: str, number: int) -> None:
    """As ``git update-ref`` does, a hundred times as quickly, and never back."""
    global _moved
    with _moving:
        if number <= _moved:
            return
        _moved = number
        lock = Path(f"{ref}.lock")
        lock.write_text(f"{commit}\n")
        lock.rename(ref)


def main(url: str) -> None:
    for run, line in enumerate(sys.stdin):
        told = send_all(url, Order(**json.loads(line)), run)
        print(json.dumps(asdict(told)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
