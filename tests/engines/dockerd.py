"""A Docker engine: the one at hand, else a private one."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import docker

from tests.engines.image import build_images
from tests.engines.ping import is_answering
from tests.engines.program import MissingEngineError, find_program, running

DEFAULT_HOST = "unix:///var/run/docker.sock"


def connect(host: str) -> docker.APIClient:
    return docker.APIClient(base_url=host, version="auto", timeout=60)


@contextmanager
def docker_host() -> Iterator[str]:
    """The address of an engine that answers: ``DOCKER_HOST``, the usual socket, a private one."""
    for host in filter(None, (os.environ.get("DOCKER_HOST"), DEFAULT_HOST)):
        if is_answering(host):
            yield host
            return
    with private_engine() as host:
        yield host


@contextmanager
def engine_with_images() -> Iterator[str]:
    """The same, with the images of the tests."""
    with docker_host() as host:
        with closing(connect(host)) as client:
            build_images(client)
        yield host


@contextmanager
def private_engine() -> Iterator[str]:
    """A dockerd with its data, state and socket in a directory of its own (short: a socket's path
    has at most 107 bytes). The default bridge stays on: ``--bridge=none`` would delete the
    ``docker0`` of another engine on this machine. There is room for as many networks as tests may
    want at one time."""
    program = find_program("dockerd", "docker.io")
    find_program("iptables", "iptables")
    if os.geteuid() != 0:
        raise MissingEngineError("dockerd needs root and nothing answers at DOCKER_HOST")
    root = Path(tempfile.mkdtemp(prefix="ctrlplane-dockerd-"))
    host = f"unix://{root}/docker.sock"
    arguments = [program, f"--data-root={root}/data", f"--exec-root={root}/exec"]
    arguments += [f"--pidfile={root}/pid", f"--host={host}"]
    arguments += ["--default-address-pool=base=10.208.0.0/12,size=26"]
    try:
        with running(arguments, root / "log", lambda: is_answering(host)):
            yield host
    finally:
        shutil.rmtree(root, ignore_errors=True)
