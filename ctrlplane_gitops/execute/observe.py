"""The one place that calls ``Provider.observe``."""

from __future__ import annotations

from collections.abc import Collection

from ctrlplane_gitops.errors import CtrlplaneError
from ctrlplane_gitops.providers.base import Provider
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.observed import Gap, ObservedState


def observe(provider: Provider, keys: Collection[ResourceKey] | None) -> ObservedState:
    """What the provider shows. Never raises: an adapter that does has a bug, which must not take
    the other providers' instances down with it. What it would have shown is unknown: a gap."""
    try:
        return provider.observe(keys)
    except CtrlplaneError as error:
        reason = error.message
    except Exception as bug:
        reason = f"unexpected {type(bug).__name__}: {bug}"
    return ObservedState(gaps=(Gap(provider.name, reason),))
