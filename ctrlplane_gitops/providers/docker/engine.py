"""The connection to one Docker engine, made when it is first needed."""

from __future__ import annotations

import math
import os
import socket
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any

import docker
from docker.errors import NotFound
from docker.utils import kwargs_from_env

from ctrlplane_gitops.errors import ProviderError
from ctrlplane_gitops.providers.docker.adopted import follow_markers
from ctrlplane_gitops.providers.docker.config import DockerConfig
from ctrlplane_gitops.providers.docker.failure import translated
from ctrlplane_gitops.providers.docker.translate import Container, label_filter, read_rows
from ctrlplane_gitops.providers.effects import Effects


class Engine:
    """What provider code asks of an engine besides the SDK's own calls."""

    def __init__(self, name: str, config: DockerConfig) -> None:
        self.name = name
        self._config = config
        self._client: docker.APIClient | None = None
        self._lock = threading.Lock()

    @property
    def client(self) -> docker.APIClient:
        """The SDK's client. Connecting asks the engine once which version it speaks."""
        with self._lock:
            if self._client is None:
                with translated(self.name, "connect"):
                    config = self._config
                    if config.is_local:
                        _knock(config.host.removeprefix("unix://"))
                    # Certificates as the docker command finds them, for engines elsewhere.
                    given = {} if config.is_local else kwargs_from_env(dict(os.environ))
                    self._client = docker.APIClient(
                        base_url=config.host,
                        version="auto",
                        timeout=math.ceil(config.timeout_s),
                        # As many as there are threads that may be stopping something.
                        max_pool_size=96,
                        tls=given.get("tls", False),
                    )
            return self._client

    def list(self, labels: Mapping[str, str]) -> tuple[list[Container], int]:
        """Containers with these labels in one call, sorted; and how many of them carry them but
        are not of our making."""
        with translated(self.name, "list containers"):
            ask = partial(self.client.containers, all=True)
            found, strangers = read_rows(ask(filters=label_filter(labels)))
            address = self._config.publish_address
            return follow_markers(found, lambda it: ask(filters=it), address), strangers

    def list_networks(self, labels: Mapping[str, str]) -> Sequence[dict[str, Any]]:
        """The rows of networks with these labels."""
        with translated(self.name, "list networks"):
            rows: Sequence[dict[str, Any]] = self.client.networks(filters=label_filter(labels))
            return rows

    def remove(self, container: Container, grace: timedelta, effects: Effects) -> None:
        """SIGTERM, ``grace``, SIGKILL; then remove it with its anonymous volumes, which one that
        was adopted keeps: they are not ours. A container that is gone is removed."""
        name = container.name
        if container.is_live:
            seconds = math.ceil(grace.total_seconds())
            made = effects.made(f"stop:{name}")
            with translated(self.name, f"stop {name}"), suppress(NotFound), made:
                self.client.stop(container.id, timeout=seconds)
        is_ours = not container.marker
        for id in (container.id,) if is_ours else (container.id, container.marker):
            made = effects.made(f"remove:{name}")
            with translated(self.name, f"remove {name}"), suppress(NotFound), made:
                self.client.remove_container(id, v=is_ours, force=True)

    def check_name(self, name: str, labels: Mapping[str, str]) -> ProviderError:
        """Why a name was taken, when it was."""
        with translated(self.name, f"inspect {name}"):
            try:
                found = self.client.inspect_container(name)
            except NotFound:
                return ProviderError(f"{name} was just removed", is_retryable=True)
        if labels.items() <= (found["Config"].get("Labels") or {}).items():
            return ProviderError(f"{name} was just created by somebody else", is_retryable=True)
        return ProviderError(
            f"container {name!r} exists and is not ours",
            hint="its labels name another owner; rename or remove it by hand",
        )

    def close(self) -> None:
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None


def _knock(path: str) -> None:
    """OSError when nobody listens: the SDK would say so at length and leave its socket open."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
