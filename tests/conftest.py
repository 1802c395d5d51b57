"""What all tests share. Golden files are written anew with ``--update-golden``. A test that asks
for a real engine is skipped where it is missing, or fails if ``CTRLPLANE_TEST_REQUIRE`` names it.
The order is another one each time, but those that run for longest come first.
"""

from pathlib import Path

import pytest
from hypothesis import settings

from tests.engines.fixture import (
    browser,
    docker_engine,
    haproxy,
    kubernetes_cluster,
    kubernetes_gateway,
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
    "kubernetes_gateway",
    "kubernetes_rig",
    "prometheus",
    "registry",
    "traefik",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write golden files anew")


# How long an example takes is a matter of what else runs here.
settings.register_profile("ours", deadline=None)
settings.load_profile("ours")

_SLOW = Path(__file__).with_name("e2e")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long ones first, so that the processes that share the tests end together."""

    def rank(item: pytest.Item) -> int:
        """Those that say so, those that start real things, the others."""
        if item.get_closest_marker("slow"):
            return 0
        return 1 if _SLOW in item.path.parents or item.get_closest_marker("docker") else 2

    items.sort(key=rank)
