"""Providers by type."""

from pathlib import Path

import pytest

from ctrlplane_gitops.errors import UsageError
from ctrlplane_gitops.providers.base import ProviderSettings
from ctrlplane_gitops.providers.registry import build_provider
from ctrlplane_gitops.state.desired import ProviderConfig


@pytest.mark.parametrize("kind", ["memory", "process"])
def test_a_provider_is_built_by_its_type_under_its_alias(kind: str, tmp_path: Path) -> None:
    config = ProviderConfig("here", kind)
    assert build_provider(ProviderSettings("p", config, str(tmp_path))).name == "here"


def test_an_unknown_type_names_the_known_ones(tmp_path: Path) -> None:
    settings = ProviderSettings("p", ProviderConfig("here", "dokcer"), str(tmp_path))
    with pytest.raises(UsageError, match="dokcer") as caught:
        build_provider(settings)
    assert caught.value.hint == "known types: docker, kubernetes, memory, process"
