"""The one place that calls ``Provider.perform``."""

from __future__ import annotations

from typing import assert_never

from ctrlplane_gitops.errors import CtrlplaneError, ProviderError
from ctrlplane_gitops.providers.base import Provider
from ctrlplane_gitops.state.action import (
    Action,
    Material,
    Outcome,
    PrepareRelease,
    RemoveInstance,
    RemoveTenant,
    ScaleReplicaSet,
    UpdateResources,
)


def perform(provider: Provider, action: Action, material: Material) -> Outcome:
    """Perform an action whose intent is already recorded. Never raises: an adapter that does has
    a bug, which must not take the other tenants' rollouts down with it."""
    try:
        return provider.perform(action, material)
    except CtrlplaneError as error:
        return Outcome(action, error)
    except Exception as bug:
        return Outcome(action, ProviderError(f"unexpected {type(bug).__name__}: {bug}"))


def address_of(action: Action) -> str:
    """The resource an action is about."""
    return action.tenant.address if isinstance(action, RemoveTenant) else action.instance.address


def describe(action: Action) -> str:
    """The action in a few words, as intents and events hold it. No secret, no content."""
    match action:
        case PrepareRelease():
            return f"prepare {action.release.label} on {action.provider}"
        case ScaleReplicaSet():
            return f"scale {action.release.label} to {action.replicas} on {action.provider}"
        case UpdateResources():
            return f"update limits on {action.provider}"
        case RemoveInstance():
            what = " and its volumes" if action.is_volumes else ""
            return f"remove{what} from {action.provider}"
        case RemoveTenant():
            return f"remove the tenant from {action.provider}"
        case _:
            assert_never(action)


def describe_done(action: Action) -> str:
    """The same once it is done."""
    match action:
        case PrepareRelease():
            return f"{action.release.label} prepared on {action.provider}"
        case ScaleReplicaSet():
            return f"{action.release.label} scaled to {action.replicas} on {action.provider}"
        case UpdateResources():
            return f"limits updated on {action.provider}"
        case RemoveInstance():
            what = " with its volumes" if action.is_volumes else ""
            return f"removed{what} from {action.provider}"
        case RemoveTenant():
            return f"removed from {action.provider}"
        case _:
            assert_never(action)
