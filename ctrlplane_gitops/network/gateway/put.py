"""Writing one object of ours: what a person has changed is taken back, all else is left."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ctrlplane_gitops.cluster.api import Api, Object
from ctrlplane_gitops.cluster.failure import ApiError
from ctrlplane_gitops.cluster.owner import FIELD_MANAGER, is_of_person, manager_of
from ctrlplane_gitops.cluster.resource import ResourceType
from ctrlplane_gitops.network.gateway.listener import LABEL_PLANE
from ctrlplane_gitops.network.gateway.render import UnservableError
from ctrlplane_gitops.network.router import RouterSettings


def put_object(
    api: Api,
    settings: RouterSettings,
    kind: ResourceType,
    wanted: dict[str, Any],
    *,
    is_ours: bool,
) -> None:
    """``is_ours``: it was seen to be. UnservableError where somebody else has one of that name."""
    metadata = wanted["metadata"]
    namespace, name = metadata["namespace"], metadata["name"]
    if not is_ours:
        found = api.get(kind, namespace, name)
        if found is not None and plane_of(found) != settings.plane:
            raise UnservableError(
                f"{kind.kind} {namespace}/{name} is there and is not ours: rename or remove it"
            )
    apply_fields(api, settings, kind, wanted)


def apply_fields(
    api: Api,
    settings: RouterSettings,
    kind: ResourceType,
    wanted: dict[str, Any],
    *,
    manager: str = FIELD_MANAGER,
) -> Object:
    """What was changed by hand is taken back: who that was is a fault of the router's state until
    then, so every plan names it. What a controller holds is left: UnservableError."""
    metadata = wanted["metadata"]
    namespace, name = metadata["namespace"], metadata["name"]
    with settings.effect(f"apply:{kind.kind}:{namespace}/{name}"):
        try:
            return api.apply(kind, wanted, manager=manager).object
        except ApiError as error:
            if not error.owners:
                raise
            for field, message in error.owners.items():
                other = manager_of(message)
                if not is_of_person(other):
                    text = f"{field.lstrip('.')} of {kind.kind} {namespace}/{name} is held by"
                    raise UnservableError(f"{text} {other}, so it is left alone") from None
            return api.apply(kind, wanted, is_forced=True, manager=manager).object


def plane_of(found: Mapping[str, Any]) -> str | None:
    labels: Mapping[str, str] = found["metadata"].get("labels") or {}
    return labels.get(LABEL_PLANE)
