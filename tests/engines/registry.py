"""An image registry on loopback that asks for a password."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import docker

from tests.engines.program import find_program, free_port, running

_CONFIG = """\
version: 0.1
log: {{level: warn}}
storage: {{filesystem: {{rootdirectory: {root}/data}}, delete: {{enabled: true}}}}
http: {{addr: 127.0.0.1:{port}}}
auth: {{htpasswd: {{realm: tests, path: {root}/htpasswd}}}}
"""


@dataclass(frozen=True, slots=True)
class Registry:
    """``address`` is ``127.0.0.1:<port>``: engines speak plain HTTP to loopback."""

    address: str
    user: str
    password: str

    def push(self, client: docker.APIClient, image: str, name: str, tag: str) -> str:
        """Push a local image as ``<address>/<name>:<tag>``; its digest ``sha256:...``. The local
        name is removed again, so that the image must be pulled."""
        repository = f"{self.address}/{name}"
        client.tag(image, repository, tag)
        auth = {"username": self.user, "password": self.password}
        digest = ""
        for line in client.push(repository, tag, stream=True, decode=True, auth_config=auth):
            assert "error" not in line, line["error"]
            digest = line.get("aux", {}).get("Digest", digest)
        client.remove_image(f"{repository}:{tag}")
        return digest


@contextmanager
def image_registry(root: Path) -> Iterator[Registry]:
    """The registry, its data below ``root``."""
    program = find_program("docker-registry", "docker-registry")
    htpasswd = find_program("htpasswd", "apache2-utils")
    registry = Registry(f"127.0.0.1:{free_port()}", "robot", "pa55-of-the-robot")
    # -B: the registry understands bcrypt only.
    line = subprocess.run(
        [htpasswd, "-Bbn", registry.user, registry.password], capture_output=True, check=True
    )
    (root / "htpasswd").write_bytes(line.stdout.strip() + b"\n")
    port = int(registry.address.rpartition(":")[2])
    (root / "config.yml").write_text(_CONFIG.format(root=root, port=port))

    def is_ready() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            return False
        return True

    with running([program, "serve", str(root / "config.yml")], root / "log", is_ready):
        yield registry
