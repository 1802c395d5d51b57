"""How our objects are called, and the labels they carry. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from ctrlplane_gitops.providers.base import (
    LABEL_INSTANCE,
    LABEL_PLANE,
    LABEL_RELEASE,
    LABEL_REVISION,
    LABEL_TENANT,
)
from ctrlplane_gitops.providers.container import owner_labels
from ctrlplane_gitops.state.key import ResourceKey, instance_key
from ctrlplane_gitops.state.template import Release
from ctrlplane_gitops.value import struct

LABEL_VOLUME = "ctrlplane.dev/volume"
MANAGED_BY = {"app.kubernetes.io/managed-by": "ctrlplane-gitops"}
# What our specs said when an object was last applied: nothing is sent that is there already.
APPLIED = "ctrlplane.dev/applied"
# Of a Deployment that somebody else has made, and that is a release of ours as it is.
LABEL_ADOPTED = "ctrlplane.dev/adopted"
# The names of ports are longer than a container's port may be called: "http=8080,admin=9000".
PORTS = "ctrlplane.dev/ports"
# The names of what a template has, see ``shape``.
SHAPE = "ctrlplane.dev/shape"
# Of a Deployment whose number of pods is left to an autoscaler.
AUTOSCALED = "ctrlplane.dev/autoscaled"
CONTAINER = "app"
ACCOUNT = "ctrlplane-app"
_MOST = 63
# Kubernetes makes pods' names of it: "-", ten characters, "-" and five.
_MOST_OF_SET = _MOST - 17


def namespace_name(pattern: str, plane: str, tenant: str) -> str:
    """
    >>> namespace_name("{plane}-{tenant}", "prod", "acme")
    'prod-acme'
    """
    return shorten(pattern.replace("{plane}", plane).replace("{tenant}", tenant), _MOST)


def set_name(instance: ResourceKey, release: int) -> str:
    """The name of a replica set's Deployment and Service.

    >>> set_name(instance_key("acme", "web"), 3)
    'web-v3'
    """
    return _named(f"{instance.name}-v{release}", _MOST_OF_SET)


def pull_name(name: str) -> str:
    """The Secret images of a replica set are pulled with."""
    return f"{name}-pull"


def service_name(instance: ResourceKey) -> str:
    """The Service that leads to whatever runs of an instance."""
    return _named(instance.name, _MOST)


def claim_name(instance: ResourceKey, volume: str) -> str:
    return shorten(f"{instance.name}-{volume}", _MOST)


def shorten(text: str, most: int) -> str:
    """As it is, or cut with a digest of the whole.

    >>> shorten("a" * 20, 16)
    'aaaaaaa-4c915d22'
    """
    if len(text) <= most:
        return text
    digest = hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
    return f"{text[: most - 9].rstrip('-')}-{digest}"


def _named(text: str, most: int) -> str:
    """A Service's name begins with a letter."""
    return shorten(text if text[0].isalpha() else f"i-{text}", most)


def set_selector(plane: str, instance: ResourceKey, release: int) -> dict[str, str]:
    """The labels that tell the pods of one replica set; a Deployment's selector never changes, so
    whose it is can be told by it whatever became of its own labels."""
    return owner_labels(plane, instance.tenant, instance.name) | {LABEL_RELEASE: str(release)}


def set_labels(plane: str, release: Release) -> dict[str, str]:
    """What every object of a release carries."""
    owner = set_selector(plane, release.instance, release.number)
    return owner | {LABEL_REVISION: release.revision} | MANAGED_BY


@struct
class Owner:
    """Whose an object is, by its labels."""

    instance: ResourceKey
    release: int
    revision: str


def read_owner(labels: Mapping[str, str]) -> Owner | None:
    """None when these labels are not the ones we write."""
    try:
        instance = instance_key(labels[LABEL_TENANT], labels[LABEL_INSTANCE])
        release = int(labels[LABEL_RELEASE])
    except (KeyError, ValueError):
        return None
    if LABEL_PLANE not in labels:
        return None
    return Owner(instance, release, labels.get(LABEL_REVISION, ""))
