"""Which API server is meant, and who we are there: the operator's word alone."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from ctrlplane_gitops.cluster.access import find_access, read_kubeconfig
from ctrlplane_gitops.errors import UsageError

TOKEN = "s3cret-token"


def write_kubeconfig(path: Path, user: dict[str, Any] | None = None, **cluster: Any) -> Path:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "eu",
        "clusters": [{"name": "c", "cluster": {"server": "https://eu.example:6443", **cluster}}],
        "users": [{"name": "u", "user": {"token": TOKEN} if user is None else user}],
        "contexts": [
            {"name": "eu", "context": {"cluster": "c", "user": "u"}},
            {"name": "lost", "context": {"cluster": "nowhere", "user": "u"}},
        ],
    }
    path.write_text(json.dumps(config))
    return path


def test_a_context_is_read_with_its_cluster_and_its_user(tmp_path: Path) -> None:
    data = base64.b64encode(b"PEM").decode()
    path = write_kubeconfig(tmp_path / "config", **{"certificate-authority-data": data})
    access = read_kubeconfig(path, "eu")
    assert (access.server, access.ca) == ("https://eu.example:6443", b"PEM")
    assert access.token is not None and access.token.reveal() == TOKEN.encode()
    assert TOKEN not in repr(access)


def test_the_last_used_context_is_no_choice(tmp_path: Path) -> None:
    path = write_kubeconfig(tmp_path / "config")
    with pytest.raises(UsageError, match="2 contexts") as caught:
        find_access("kube", {"CTRLPLANE_KUBECONFIG": str(path)})
    assert caught.value.hint is not None and "eu, lost" in caught.value.hint


def test_each_provider_may_have_settings_of_its_own(tmp_path: Path) -> None:
    path = write_kubeconfig(tmp_path / "config")
    environ = {
        "CTRLPLANE_KUBECONFIG": "/nowhere",
        "CTRLPLANE_KUBECONFIG_EU_WEST": str(path),
        "CTRLPLANE_KUBE_CONTEXT_EU_WEST": "eu",
    }
    assert find_access("eu-west", environ).server == "https://eu.example:6443"
    with pytest.raises(UsageError, match="/nowhere cannot be read"):
        find_access("us", environ)


def test_files_are_found_from_the_kubeconfig(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_bytes(b"CA")
    (tmp_path / "token").write_text(TOKEN)
    user = {"tokenFile": "token"}
    path = write_kubeconfig(tmp_path / "config", user, **{"certificate-authority": "ca.crt"})
    access = read_kubeconfig(path, "eu")
    assert access.ca == b"CA"
    assert access.token_file == str(tmp_path / "token")


def test_in_a_pod_its_service_account_is_taken(tmp_path: Path) -> None:
    for name in ("token", "ca.crt"):
        (tmp_path / name).write_text(name)
    environ = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"}
    access = find_access("kube", environ, tmp_path)
    assert access.server == "https://[fd00::1]:6443"
    assert access.token_file == str(tmp_path / "token")


def test_without_any_setting_it_is_said_which_there_are() -> None:
    with pytest.raises(UsageError, match="none is set") as caught:
        find_access("kube", {"KUBECONFIG": "/root/.kube/config"})
    assert caught.value.hint is not None and "CTRLPLANE_KUBECONFIG_KUBE" in caught.value.hint


def test_a_program_is_run_only_where_the_operator_allows_it(tmp_path: Path) -> None:
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": "aws"}
    path = write_kubeconfig(tmp_path / "config", {"exec": plugin})
    environ = {"CTRLPLANE_KUBECONFIG": str(path), "CTRLPLANE_KUBE_CONTEXT": "eu"}
    with pytest.raises(UsageError, match="'aws'") as caught:
        find_access("kube", environ)
    assert caught.value.hint is not None and "CTRLPLANE_KUBE_EXEC=1" in caught.value.hint
    assert find_access("kube", environ | {"CTRLPLANE_KUBE_EXEC": "1"}).plugin is not None


@pytest.mark.parametrize(
    ("context", "words"),
    [("us", "'us'"), ("lost", "'nowhere'")],
)
def test_a_name_that_leads_nowhere_is_said(tmp_path: Path, context: str, words: str) -> None:
    path = write_kubeconfig(tmp_path / "config")
    with pytest.raises(UsageError, match=words):
        read_kubeconfig(path, context)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "not YAML"),
        ("just text", "no kubeconfig"),
        ("contexts: {a: b}", "contexts are not"),
    ],
)
def test_what_is_no_kubeconfig_is_not_quoted(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(UsageError, match=words):
        read_kubeconfig(path, "eu")


@pytest.mark.parametrize(
    ("user", "words"),
    [
        ({"auth-provider": {"name": "gcp"}}, "given up"),
        ({"client-certificate-data": "?"}, "base64"),
        ({"exec": {"command": "x", "apiVersion": "v0"}}, "'v0'"),
    ],
)
def test_a_user_we_cannot_be_is_refused(tmp_path: Path, user: dict[str, Any], words: str) -> None:
    path = write_kubeconfig(tmp_path / "config", user)
    with pytest.raises(UsageError, match=words):
        read_kubeconfig(path, "eu")


def test_a_server_without_tls_is_refused(tmp_path: Path) -> None:
    path = write_kubeconfig(tmp_path / "config", server="http://eu.example")
    with pytest.raises(UsageError, match="no https URL"):
        read_kubeconfig(path, "eu")
