"""Secrets and files of a release as objects. What is in them is never compared or shown: digests
say whether it is the same."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping

from ctrlplane_gitops.errors import ProviderError
from ctrlplane_gitops.providers.container import secret_environment
from ctrlplane_gitops.providers.kubernetes.manifest import (
    Object,
    file_key,
    fingerprint,
    mark,
)
from ctrlplane_gitops.providers.kubernetes.name import pull_name, set_labels, set_name
from ctrlplane_gitops.providers.kubernetes.row import PULL_KEY
from ctrlplane_gitops.state.action import Material
from ctrlplane_gitops.state.template import Release, SecretMount, SecretType

# What the API server takes, for all keys of one object.
_MOST_BYTES = 1024 * 1024
_HUB = "https://index.docker.io/v1/"
_HUBS = ("docker.io", "index.docker.io", "registry-1.docker.io")


def build_secret(plane: str, namespace: str, release: Release, material: Material) -> Object | None:
    """One Secret with what reaches the replicas as variables and files. Always ``data``: applied
    ``stringData`` would leave keys behind that are not asked for any more."""
    mounts = [it for it in release.template.secrets if it.type in (SecretType.ENV, SecretType.FILE)]
    if not mounts:
        return None
    secret_environment(release.template, material)
    values = {item.secret.name: material.secrets[item.secret].reveal() for item in mounts}
    _check_size(values, f"{release.instance}: its secrets")
    digests = {item.secret.name: item.digest for item in mounts}
    desired: Object = {
        "metadata": _metadata(
            plane, namespace, release, set_name(release.instance, release.number)
        ),
        "type": "Opaque",
        "data": {name: base64.b64encode(value).decode() for name, value in values.items()},
    }
    return mark(desired, fingerprint({"digests": digests}))


def build_files(plane: str, namespace: str, release: Release, material: Material) -> Object | None:
    """One ConfigMap with the release's files."""
    if not release.template.files:
        return None
    values = {
        file_key(place): material.files[file.digest]
        for place, file in enumerate(release.template.files)
    }
    _check_size(values, f"{release.instance}: its files")
    digests = {file_key(place): file.digest for place, file in enumerate(release.template.files)}
    desired: Object = {
        "metadata": _metadata(
            plane, namespace, release, set_name(release.instance, release.number)
        ),
        "binaryData": {name: base64.b64encode(value).decode() for name, value in values.items()},
    }
    return mark(desired, fingerprint({"digests": digests}))


def build_pull_secret(
    plane: str, namespace: str, release: Release, material: Material
) -> Object | None:
    """What the kubelet pulls images with. Not part of the revision: it may change at any time."""
    mounts = [item for item in release.template.secrets if item.type is SecretType.REGISTRY]
    if not mounts:
        return None
    auths = {_registry(item.target): _credential(item, material) for item in mounts}
    salt = f"{plane}/{release.instance}"
    digests = {str(item.secret): material.secrets[item.secret].digest(salt) for item in mounts}
    name = pull_name(set_name(release.instance, release.number))
    content = json.dumps({"auths": auths}).encode()
    desired: Object = {
        "metadata": _metadata(plane, namespace, release, name),
        "type": "kubernetes.io/dockerconfigjson",
        "data": {PULL_KEY: base64.b64encode(content).decode()},
    }
    return mark(desired, fingerprint({"digests": digests}))


def _metadata(plane: str, namespace: str, release: Release, name: str | None = None) -> Object:
    name = name or set_name(release.instance, release.number)
    return {"name": name, "namespace": namespace, "labels": set_labels(plane, release)}


def _registry(host: str) -> str:
    """
    >>> _registry("docker.io"), _registry("registry.example.com")
    ('https://index.docker.io/v1/', 'registry.example.com')
    """
    name = host.removeprefix("https://").removeprefix("http://").split("/")[0]
    return _HUB if name in _HUBS else name


def _credential(mount: SecretMount, material: Material) -> dict[str, str]:
    value = material.secrets.get(mount.secret)
    if value is None:
        raise ProviderError(f"{mount.secret} has no value, so nothing was started")
    text = value.reveal().decode("utf-8", "replace").rstrip("\r\n")
    user, colon, password = text.partition(":")
    if not colon:
        raise ProviderError(f"{mount.secret} is not of the form user:password")
    auth = base64.b64encode(text.encode()).decode()
    return {"username": user, "password": password, "auth": auth}


def _check_size(values: Mapping[str, bytes], what: str) -> None:
    size = sum(map(len, values.values()))
    if size > _MOST_BYTES:
        raise ProviderError(
            f"{what} have {size} bytes, and Kubernetes takes {_MOST_BYTES}",
            hint="put what is large into the image or a volume",
        )
