"""What a release runs, and the release itself."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.value import field, struct


@struct
class Port:
    """A named port the application listens on. Processes get a port of their own instead, in
    ``PORT`` (first port) and ``PORT_<NAME>``; containers listen on ``port`` itself."""

    name: str
    port: int


@struct
class Volume:
    """A directory, named volume or claim that outlives releases."""

    name: str
    path: str
    size_bytes: int | None = None


@struct
class FileMount:
    """A file shipped into each replica. ``digest`` is the Git blob id (SHA-1) of the content,
    whether it came from the repo or inline, so that an unchanged file is never read."""

    path: str
    digest: str
    mode: int = 0o644


class SecretType(StrEnum):
    ENV = "env"
    FILE = "file"
    REGISTRY = "registry"
    TLS = "tls"


@struct
class SecretMount:
    """How a secret reaches a replica. ``target`` is the environment variable (``env``), the path
    (``file``) or the registry host (``registry``). ``digest`` changes when the value rotates."""

    secret: ResourceKey
    type: SecretType
    target: str
    digest: str


@struct
class ReleaseTemplate:
    """What must be replaced when it changes: the input of ``revision``. The provider is part of
    it, so moving an instance to another provider is an ordinary rollout. All tuples are sorted by
    name or path, except ``command`` and ``ports`` (the first port is ``PORT``)."""

    provider: str
    image: str | None = None
    command: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[Port, ...] = ()
    volumes: tuple[Volume, ...] = ()
    files: tuple[FileMount, ...] = ()
    secrets: tuple[SecretMount, ...] = ()


class ReleaseState(StrEnum):
    """``pending`` until its rollout completed once; ``failed`` is remembered as bad."""

    PENDING = "pending"
    ACTIVE = "active"
    SUPERSEDED = "superseded"
    FAILED = "failed"


@struct
class Release:
    """Immutable numbered snapshot of what an instance ran. Only ``state``, ``reason`` and
    ``resolved`` are filled in later. ``resolved`` holds what the provider resolved once for all
    replicas: ``{"image": "repo@sha256:..."}``."""

    instance: ResourceKey
    number: int
    revision: str
    template: ReleaseTemplate
    commit: str
    created_at: datetime
    state: ReleaseState = ReleaseState.PENDING
    reason: str = ""
    resolved: Mapping[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return f"v{self.number}"
