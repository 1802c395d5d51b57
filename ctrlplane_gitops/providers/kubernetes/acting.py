"""Changing what runs in one cluster."""

from __future__ import annotations

from typing import assert_never

from ctrlplane_gitops.cluster.api import Api
from ctrlplane_gitops.errors import CtrlplaneError
from ctrlplane_gitops.providers.base import ProviderSettings
from ctrlplane_gitops.providers.effects import Effects
from ctrlplane_gitops.providers.kubernetes.config import KubernetesConfig
from ctrlplane_gitops.providers.kubernetes.limits import update_limits
from ctrlplane_gitops.providers.kubernetes.lookup import Lookup
from ctrlplane_gitops.providers.kubernetes.manifest import check_release
from ctrlplane_gitops.providers.kubernetes.removal import remove_instance, remove_tenant
from ctrlplane_gitops.providers.kubernetes.scale import Scaling
from ctrlplane_gitops.providers.kubernetes.tenant import Tenants
from ctrlplane_gitops.redact import Redactor, SecretValue
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
from ctrlplane_gitops.value import field, struct


@struct
class Site:
    """Where actions are done: one control plane in one cluster."""

    name: str
    plane: str
    config: KubernetesConfig
    api: Api
    lookup: Lookup
    tenants: Tenants = field(default_factory=Tenants)


def perform(site: Site, settings: ProviderSettings, action: Action, material: Material) -> Outcome:
    effects, warnings = Effects(settings.on_effect), list[str]()
    resolved: dict[str, str] = {}
    error: CtrlplaneError | None = None
    try:
        match action:
            case PrepareRelease():
                # The kubelet pulls, by the name it is given.
                check_release(action.release)
                resolved = {"image": action.release.template.image or ""}
            case ScaleReplicaSet():
                Scaling(site, action, material, effects, warnings).run()
            case UpdateResources():
                update_limits(site, action, effects, warnings)
            case RemoveInstance():
                remove_instance(site, action, effects)
            case RemoveTenant():
                remove_tenant(site, action, effects, warnings)
            case _:
                assert_never(action)
    except CtrlplaneError as caught:
        error = _scrub(caught, site.name, material)
    return Outcome(action, error, effects.count, resolved, tuple(dict.fromkeys(warnings)))


def _scrub(error: CtrlplaneError, provider: str, material: Material) -> CtrlplaneError:
    """The server's words may repeat what it was given."""
    values = list(material.secrets.values())
    parts = [value.reveal().partition(b":")[2] for value in values]
    redactor = Redactor([*values, *(SecretValue(part) for part in parts if part)])
    error.message = f"{provider}: {redactor.scrub(error.message)}"
    return error
