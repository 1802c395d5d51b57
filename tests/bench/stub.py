"""A stand-in for a Docker engine: it answers the list call with a recorded list, at once.

``python -m tests.bench.stub SOCKET LIST`` serves until it is ended.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ctrlplane_gitops.clock import parse_rfc3339
from ctrlplane_gitops.providers.base import LABEL_RELEASE, LABEL_REPLICA, LABEL_REVISION
from ctrlplane_gitops.providers.docker.translate import LABEL_PORTS, owner_labels
from ctrlplane_gitops.providers.memory_world import MemoryReplica
from tests.engines.ping import is_answering


def make_row(replica: MemoryReplica) -> dict[str, Any]:
    """What an engine lists of it."""
    labels = owner_labels(replica.plane, replica.tenant, replica.instance) | {
        LABEL_RELEASE: str(replica.release),
        LABEL_REVISION: replica.revision,
        LABEL_REPLICA: replica.name,
        LABEL_PORTS: "http=8080",
    }
    port = {"IP": "127.0.0.1", "PrivatePort": 8080, "PublicPort": 30000, "Type": "tcp"}
    return {
        "Id": f"{abs(hash(replica.name)):064x}",
        "Names": [f"/{replica.name}"],
        "Image": "ctrlplane-test-app:1",
        "ImageID": "sha256:" + "0" * 64,
        "Command": "python3 /app/app.py",
        "Created": int(parse_rfc3339(replica.started_at).timestamp()),
        "Ports": [port],
        "Labels": labels,
        "State": "running",
        "Status": "Up 2 hours",
        "HostConfig": {"NetworkMode": f"{replica.plane}.{replica.tenant}"},
        "NetworkSettings": {"Networks": {}},
        "Mounts": [],
    }


@contextmanager
def engine_stub(path: Path, replicas: list[MemoryReplica]) -> Iterator[None]:
    """The stub in a process of its own, listening at ``path``."""
    listing = path.with_suffix(".json")
    listing.write_text(json.dumps([make_row(item) for item in replicas]))
    process = subprocess.Popen([sys.executable, "-m", __name__, str(path), str(listing)])
    try:
        while not is_answering(f"unix://{path}"):
            if process.poll() is not None:
                raise RuntimeError("the stub does not start")
        yield
    finally:
        process.terminate()
        process.wait()
        path.unlink(missing_ok=True)


def serve(path: str, listing: str) -> None:
    body = Path(listing).read_bytes()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(64)
        while True:
            connection, _ = listener.accept()
            with connection:
                request = b""
                while b"\r\n\r\n" not in request:
                    part = connection.recv(65536)
                    if not part:
                        break
                    request += part
                content = body if b"/containers/json" in request else b"OK"
                head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(content)}\r\nConnection: close\r\n"
                connection.sendall(head.encode() + b"\r\n" + content)


if __name__ == "__main__":
    serve(*sys.argv[1:3])
