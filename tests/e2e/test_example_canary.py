"""The example of a canary does what its comments say."""

from __future__ import annotations

import shutil
import urllib.request
from pathlib import Path

import pytest

from tests.e2e.plane import Plane
from tests.engines.program import free_port

EXAMPLE = Path(__file__).parents[2] / "examples" / "canary"


def ask(port: int, **headers: str) -> str:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/")
    for name, value in {"Host": "shop.acme.example", **headers}.items():
        request.add_header(name, value)
    with urllib.request.urlopen(request, timeout=10) as response:
        return str(response.read().decode())


@pytest.mark.traefik
def test_the_example_of_a_canary_works_as_it_stands(local: Plane, traefik: str) -> None:
    shutil.copytree(EXAMPLE, local.repo)
    local.git("init", "--quiet", "--initial-branch=main")
    local.commit()
    port = free_port()
    local.name = "canary"
    local.edit("ctrlplane.yaml", '"127.0.0.1:8080"}', f'"127.0.0.1:{port}"}}, binary: {traefik}')
    try:
        assert local.run("apply", "-y").code == 0
        assert ask(port) == "Hello from Acme, version 1\n"
        local.edit("tenants/acme.yaml", 'VERSION: "1"', 'VERSION: "2"')
        assert local.run("apply", "-y").code == 10
        header = {"X-Canary": "yes"}
        assert {ask(port, **header) for _ in range(10)} == {"Hello from Acme, version 2\n"}
        assert len({ask(port) for _ in range(40)}) == 2
        assert local.run("promote", "instance/acme/web").code == 0
        assert {ask(port) for _ in range(10)} == {"Hello from Acme, version 2\n"}
        assert "No changes." in local.ok("plan").out
    finally:
        local.run("destroy", "-y")
