"""One fixture per engine, for the whole session."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from tests.engines.browser import chromium_browser
from tests.engines.program import MissingEngineError, give_up
from tests.engines.prometheus import find_prometheus
from tests.engines.registry import Registry, image_registry
from tests.engines.router import find_haproxy, find_traefik
from tests.engines.shared import shared

if TYPE_CHECKING:
    from tests.engines.kubernetes import Cluster
    from tests.kubernetes.gateway import Gateway
    from tests.kubernetes.rig import Rig


@pytest.fixture(scope="session")
def docker_engine(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[str]:
    """The address of a Docker engine that holds ``ctrlplane-test-app:1`` and ``:2``. All processes
    share it: what a test makes there bears a name of its own, and it counts nothing else."""
    try:
        from tests.engines.dockerd import engine_with_images
    except ModuleNotFoundError as missing:
        give_up("docker", f"the Python package {missing.name!r} is not installed")
    folder = tmp_path_factory.getbasetemp()
    if worker_id != "master":
        folder = folder.parent
    with ExitStack() as stack:
        try:
            host = stack.enter_context(shared(folder / "docker-engine", engine_with_images))
        except MissingEngineError as missing:
            give_up("docker", str(missing))
        yield host


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """An image registry on loopback; an engine on another machine cannot reach it."""
    with ExitStack() as stack:
        try:
            started = stack.enter_context(image_registry(tmp_path_factory.mktemp("registry")))
        except MissingEngineError as missing:
            give_up("registry", str(missing))
        yield started


@pytest.fixture(scope="session")
def traefik() -> str:
    """The program's path."""
    try:
        return find_traefik()
    except MissingEngineError as missing:
        give_up("traefik", str(missing))
        raise


@pytest.fixture(scope="session")
def haproxy() -> str:
    """The program's path."""
    try:
        return find_haproxy()
    except MissingEngineError as missing:
        give_up("haproxy", str(missing))
        raise


@pytest.fixture(scope="session")
def prometheus() -> str:
    """The program's path."""
    try:
        return find_prometheus()
    except MissingEngineError as missing:
        give_up("prometheus", str(missing))
        raise


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """For a module alone: while it is open there is an event loop in this thread."""
    with ExitStack() as stack:
        try:
            opened = stack.enter_context(chromium_browser())
        except MissingEngineError as missing:
            give_up("chromium", str(missing))
        yield opened


@pytest.fixture(scope="session")
def kubernetes_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """An API server, its controllers and nodes: ours, or that of ``USE_EXISTING_CLUSTER``."""
    with ExitStack() as stack:
        try:
            from tests.engines.kubernetes import existing_cluster, is_existing
            from tests.kubernetes.rig import rig

            make = existing_cluster if is_existing() else rig
            started = stack.enter_context(make(tmp_path_factory.mktemp("kubernetes")))
        except ModuleNotFoundError as missing:
            give_up("kubernetes", f"the Python package {missing.name!r} is not installed")
        except MissingEngineError as missing:
            give_up("kubernetes", str(missing))
        yield started


@pytest.fixture(scope="session")
def kubernetes_rig(kubernetes_cluster: Cluster) -> Rig:
    """One of our own, which may be told to fail."""
    from tests.kubernetes.rig import Rig

    if not isinstance(kubernetes_cluster, Rig):
        pytest.skip("the existing cluster cannot be told to fail")
    return kubernetes_cluster


@pytest.fixture(scope="session")
def kubernetes_gateway(
    kubernetes_rig: Rig, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    """The Gateway API there, and a Gateway that really routes to pods that really run."""
    from tests.kubernetes.gateway import gateway

    with ExitStack() as stack:
        try:
            root = tmp_path_factory.mktemp("gateway")
            started = stack.enter_context(gateway(kubernetes_rig, root))
        except MissingEngineError as missing:
            give_up("traefik", str(missing))
        yield started
