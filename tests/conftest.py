"""What all tests share. Golden files are written anew with ``--update-golden``. A test that asks
for a real engine is skipped where it is missing, or fails if ``CTRLPLANE_TEST_REQUIRE`` names it.
"""

import pytest

from tests.engines.fixture import (
    browser,
    docker_engine,
    haproxy,
    kubernetes_cluster,
    kubernetes_rig,
    prometheus,
    registry,
    traefik,
)

__all__ = [
    "browser",
    "docker_engine",
    "haproxy",
    "kubernetes_cluster",
    "kubernetes_rig",
    "prometheus",
    "registry",
    "traefik",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write golden files anew")
