"""The engine at its best: create and start over bare HTTP, so many calls at a time and no more.

``python -m tests.bench.raw SOCKET PLANE COUNT THREADS`` makes a network and ``COUNT`` containers
in it, as alike to ours as can be, and ends when every one runs. The standard library alone.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPConnection
from threading import local
from time import sleep
from typing import Any
from urllib.parse import urlencode

LABEL = "ctrlplane.dev/plane"
IMAGE = "ctrlplane-test-app:1"
_PATIENCE = 20
COMMAND = ("/bin/busybox", "sleep", "3600")


class RawEngine(HTTPConnection):
    """One connection to the engine at a socket, kept open."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=120)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)

    def ask(self, method: str, target: str, body: Any = None) -> Any:
        """The answer's JSON; RuntimeError for what is no success."""
        content = None if body is None else json.dumps(body)
        self.request(method, target, content, {"Content-Type": "application/json"})
        answer = self.getresponse()
        text = answer.read()
        if answer.status >= 400:
            raise RuntimeError(f"{method} {target}: {answer.status} {text[:300]!r}")
        return json.loads(text) if text else None


def labels_of(plane: str, name: str) -> dict[str, str]:
    """As many as one of our containers carries."""
    return {
        LABEL: plane,
        "ctrlplane.dev/tenant": "raw",
        "ctrlplane.dev/instance": name,
        "ctrlplane.dev/release": "1",
        "ctrlplane.dev/revision": "0123456789abcdef",
        "ctrlplane.dev/replica": f"{plane}.raw.{name}.v1.0",
    }


def find_all(path: str, plane: str, what: str = "containers/json") -> list[dict[str, Any]]:
    """Every container (or ``networks``) of the plane, running or not."""
    filters = urlencode({"all": 1, "filters": json.dumps({"label": [f"{LABEL}={plane}"]})})
    found: list[dict[str, Any]] = RawEngine(path).ask("GET", f"/{what}?{filters}")
    return found


def remove_all(path: str, plane: str) -> None:
    """Every container and network of the plane; RuntimeError when one is left."""

    def remove(row: dict[str, Any]) -> None:
        RawEngine(path).ask("DELETE", f"/containers/{row['Id']}?force=1&v=1")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(remove, find_all(path, plane)))
    for row in find_all(path, plane, "networks"):
        _remove_network(path, row["Id"])
    left = find_all(path, plane)
    if left:
        raise RuntimeError(f"{len(left)} containers are left")


def _remove_network(path: str, network: str) -> None:
    """The engine may hold on to the endpoint of a container that is gone: it is cut off then. One
    of nobody goes when the engine is started again (20.10), and until then is in nobody's way."""
    for attempt in range(_PATIENCE):
        try:
            RawEngine(path).ask("DELETE", f"/networks/{network}")
            return
        except RuntimeError as refused:
            found = RawEngine(path).ask("GET", f"/networks/{network}")
            if not found["Containers"] and attempt >= 3 and "active endpoints" in str(refused):
                return
            for container in found["Containers"]:
                with suppress(RuntimeError):
                    body = {"Container": container, "Force": True}
                    RawEngine(path).ask("POST", f"/networks/{network}/disconnect", body)
            sleep(0.5)
    raise RuntimeError(f"the network {network} cannot be removed")


def start_all(path: str, plane: str, count: int, threads: int) -> None:
    # One of an earlier run may be there still.
    network = f"{plane}.raw-{os.urandom(3).hex()}"
    RawEngine(path).ask(
        "POST",
        "/networks/create",
        {"Name": network, "Driver": "bridge", "CheckDuplicate": True, "Labels": {LABEL: plane}},
    )
    kept = local()

    def start(number: int) -> None:
        engine: RawEngine | None = getattr(kept, "engine", None)
        if engine is None:
            engine = kept.engine = RawEngine(path)
        name = f"i{number:05d}"
        body = {
            "Image": IMAGE,
            "Cmd": COMMAND,
            "Env": [f"NUMBER={number}"],
            "Labels": labels_of(plane, name),
            "HostConfig": {"NetworkMode": network, "Init": True, "RestartPolicy": {"Name": "no"}},
            "NetworkingConfig": {"EndpointsConfig": {network: {"Aliases": [name]}}},
        }
        made = engine.ask("POST", f"/containers/create?name={plane}.raw.{name}", body)
        engine.ask("POST", f"/containers/{made['Id']}/start")

    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(start, number) for number in range(count)]:
            done.result()


if __name__ == "__main__":
    start_all(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
