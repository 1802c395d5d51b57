"""The Docker provider against a real engine."""

import pytest

from ctrlplane_gitops.providers.conformance import ProviderConformance

pytest.importorskip("docker")

from tests.providers.docker_kit import DockerHooks

pytestmark = pytest.mark.docker


class TestDockerConformance(DockerHooks, ProviderConformance):
    """The shipped suite."""
