"""A stand-in for a Docker engine: it answers the list call with a recorded list, at once.

``python -m tests.bench.stub SOCKET LIST [LOOKS]`` serves until it is ended; to the file LOOKS goes
a line for each list call, the time of ``monotonic_s``, which all processes of a machine share.
"""

from __future__ import annotations

import json
import socketserver
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ctrlplane_gitops.clock import monotonic_s, parse_rfc3339
from ctrlplane_gitops.providers.base import (
    LABEL_PLANE,
    LABEL_RELEASE,
    LABEL_REPLICA,
    LABEL_REVISION,
    LABEL_TENANT,
)
from ctrlplane_gitops.providers.container import owner_labels
from ctrlplane_gitops.providers.docker.translate import LABEL_PORTS
from ctrlplane_gitops.providers.memory_world import MemoryReplica
from tests.engines.ping import is_answering


def make_labels(replica: MemoryReplica) -> dict[str, str]:
    """What a container of it carries."""
    return owner_labels(replica.plane, replica.tenant, replica.instance) | {
        LABEL_RELEASE: str(replica.release),
        LABEL_REVISION: replica.revision,
        LABEL_REPLICA: replica.name,
        LABEL_PORTS: "http=8080",
    }


def make_row(replica: MemoryReplica) -> dict[str, Any]:
    """What an engine lists of it."""
    port = {"IP": "127.0.0.1", "PrivatePort": 8080, "PublicPort": 30000, "Type": "tcp"}
    return {
        "Id": f"{abs(hash(replica.name)):064x}",
        "Names": [f"/{replica.name}"],
        "Image": "ctrlplane-test-app:1",
        "ImageID": "sha256:" + "0" * 64,
        "Command": "python3 /app/app.py",
        "Created": int(parse_rfc3339(replica.started_at).timestamp()),
        "Ports": [port],
        "Labels": make_labels(replica),
        "State": "running",
        "Status": "Up 2 hours",
        "HostConfig": {"NetworkMode": f"{replica.plane}.{replica.tenant}"},
        "NetworkSettings": {"Networks": {}},
        "Mounts": [],
    }


@contextmanager
def engine_stub(
    path: Path, replicas: list[MemoryReplica], looks: Path | None = None
) -> Iterator[None]:
    """The stub in a process of its own, listening at ``path``."""
    listing = path.with_suffix(".json")
    listing.write_text(json.dumps([make_row(item) for item in replicas]))
    command = [sys.executable, "-m", __name__, str(path), str(listing)]
    process = subprocess.Popen([*command, str(looks)] if looks else command)
    try:
        while not is_answering(f"unix://{path}"):
            if process.poll() is not None:
                raise RuntimeError("the stub does not start")
        yield
    finally:
        process.terminate()
        process.wait()
        path.unlink(missing_ok=True)


class _Lists:
    """The answer to every filter by labels, made once: all rows, or those that carry a label."""

    def __init__(self, content: bytes) -> None:
        self._all = content
        self._by_label: dict[str, list[dict[str, Any]]] = {}
        for row in json.loads(content):
            for name, value in row["Labels"].items():
                self._by_label.setdefault(f"{name}={value}", []).append(row)
        self._count = max(map(len, self._by_label.values()), default=0)
        names = {row["HostConfig"]["NetworkMode"]: row["Labels"] for row in json.loads(content)}
        self._networks = json.dumps(
            [_make_network(name, labels) for name, labels in names.items()]
        ).encode()

    def answer(self, target: str) -> bytes:
        if target.startswith("/networks"):
            return self._networks
        if "/containers/json" not in target:
            return b"[]" if "/networks" in target else b"OK"
        filters = json.loads(parse_qs(urlsplit(target).query).get("filters", ["{}"])[0])
        found = [self._by_label.get(label, []) for label in filters.get("label", ())]
        rarest = min(found, key=len, default=None)
        if rarest is None or len(rarest) == self._count:
            return self._all
        kept = {row["Id"]: row for row in rarest}
        for rows in found:
            if len(rows) < self._count:
                ids = {row["Id"] for row in rows}
                kept = {id: row for id, row in kept.items() if id in ids}
        return json.dumps(list(kept.values())).encode()


def _make_network(name: str, labels: dict[str, str]) -> dict[str, Any]:
    """A tenant's own, as the engine lists it."""
    owner = owner_labels(labels[LABEL_PLANE], labels[LABEL_TENANT])
    return {"Id": f"{abs(hash(name)):064x}", "Name": name, "Driver": "bridge", "Labels": owner}


def serve(path: str, listing: str, looks: str = "") -> None:
    lists = _Lists(Path(listing).read_bytes())

    class Handler(socketserver.StreamRequestHandler):
        """One request without a body per connection."""

        def handle(self) -> None:
            line = self.rfile.readline().decode()
            if not line:
                return  # Whoever asked has ended.
            target = line.split(" ")[1]
            if looks and "/containers/json" in target:
                with Path(looks).open("a") as log:
                    log.write(f"{monotonic_s()}\n")
            while self.rfile.readline().strip():
                continue
            content = lists.answer(target)
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(content)}\r\n"
            with suppress(BrokenPipeError):  # Whoever asked waits no longer.
                self.wfile.write(f"{head}Connection: close\r\n\r\n".encode() + content)

    with socketserver.UnixStreamServer(path, Handler) as server:
        server.serve_forever()


if __name__ == "__main__":
    serve(*sys.argv[1:4])
