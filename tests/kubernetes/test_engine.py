"""How the control plane is found, and how one that was there before is taken."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engines.kubernetes import PROGRAMS, existing_cluster, find_assets, write_kubeconfig
from tests.engines.program import MissingEngineError
from tests.kubernetes.client import Access
from tests.kubernetes.rig import Rig


def test_what_is_missing_is_said_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
    with pytest.raises(MissingEngineError, match=r"assets/build\.sh") as missing:
        find_assets()
    assert str(tmp_path) in str(missing.value)
    for name in PROGRAMS:
        (tmp_path / name).touch()
    assert find_assets() == tmp_path


@pytest.mark.kubernetes
def test_a_cluster_that_was_there_before_is_taken(
    kubernetes_rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(kubernetes_rig.kubeconfig))
    with existing_cluster(tmp_path) as cluster:
        assert cluster.client.list("Node") == kubernetes_rig.client.list("Node")


@pytest.mark.kubernetes
def test_one_that_lets_nobody_in_is_refused(
    kubernetes_rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    access = kubernetes_rig.access
    stranger = Access(access.server, access.authority, token="nobody's")
    path = write_kubeconfig(stranger, tmp_path / "kubeconfig")
    monkeypatch.setenv("KUBECONFIG", str(path))
    with pytest.raises(MissingEngineError, match="401"), existing_cluster(tmp_path):
        pass
