"""One namespace for all: objects have names of their own."""

from __future__ import annotations

import pytest

from tests.kubernetes.rig import Rig
from tests.kubernetes.scene import Scene


@pytest.fixture(scope="module")
def namespace(kubernetes_rig: Rig) -> str:
    return kubernetes_rig.make_namespace()


@pytest.fixture
def scene(kubernetes_rig: Rig, namespace: str) -> Scene:
    return Scene(kubernetes_rig, namespace)
