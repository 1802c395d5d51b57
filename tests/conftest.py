"""What all tests share. Golden files are written anew with ``--update-golden``. A test that asks
for a real engine is skipped where it is missing, or fails if ``CTRLPLANE_TEST_REQUIRE`` names it.
"""

import pytest

from tests.engines.fixture import docker_engine, haproxy, prometheus, registry, traefik

__all__ = ["docker_engine", "haproxy", "prometheus", "registry", "traefik"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write golden files anew")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where several processes share the tests, one has all that need the Docker engine, for there
    is one engine; every other file stays together."""
    for item in items:
        is_docker = item.get_closest_marker("docker") is not None
        name = "docker" if is_docker else item.nodeid.partition("::")[0]
        item.add_marker(pytest.mark.xdist_group(name))
