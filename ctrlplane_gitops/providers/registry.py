"""Providers by type. An SDK is imported only when a provider of its type is built."""

from __future__ import annotations

from collections.abc import Callable

from ctrlplane_gitops.errors import UsageError, explain_missing
from ctrlplane_gitops.providers.base import Provider, ProviderSettings


def _build_memory(settings: ProviderSettings) -> Provider:
    from ctrlplane_gitops.providers.memory import MemoryProvider

    return MemoryProvider(settings)


def _build_process(settings: ProviderSettings) -> Provider:
    from ctrlplane_gitops.providers.process.provider import ProcessProvider

    return ProcessProvider(settings)


def _build_docker(settings: ProviderSettings) -> Provider:
    from ctrlplane_gitops.providers.docker.provider import DockerProvider

    return DockerProvider(settings)


def _build_kubernetes(settings: ProviderSettings) -> Provider:
    from ctrlplane_gitops.providers.kubernetes.provider import KubernetesProvider

    return KubernetesProvider(settings)


_BUILDERS: dict[str, Callable[[ProviderSettings], Provider]] = {
    "docker": _build_docker,
    "kubernetes": _build_kubernetes,
    "memory": _build_memory,
    "process": _build_process,
}

PROVIDER_TYPES = tuple(sorted(_BUILDERS))


def build_provider(settings: ProviderSettings) -> Provider:
    """The provider of ``settings.config.type``; UsageError naming the known types for another.
    A missing extra is a UsageError that says which to install."""
    builder = _BUILDERS.get(settings.config.type)
    if builder is None:
        raise UsageError(
            f"provider {settings.config.alias!r} has the unknown type {settings.config.type!r}",
            hint=f"known types: {', '.join(PROVIDER_TYPES)}",
        )
    try:
        return builder(settings)
    except ModuleNotFoundError as missing:
        who = f"provider {settings.config.alias!r}"
        raise explain_missing(who, missing, settings.config.type) from None
