"""``adopt``: a Deployment that somebody else made becomes a release as it is. What says so are
labels of its own, which restart nothing; its template, its name and its selector stay."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ctrlplane_gitops.cluster.resource import DEPLOYMENT, NAMESPACE, SERVICE
from ctrlplane_gitops.errors import ConflictError, ProviderError
from ctrlplane_gitops.providers.adopting import Adoption, Foreign
from ctrlplane_gitops.providers.base import LABEL_PLANE, LABEL_REVISION, ProviderSettings
from ctrlplane_gitops.providers.container import owner_labels
from ctrlplane_gitops.providers.effects import Effects
from ctrlplane_gitops.providers.kubernetes.adopted import ensure_service, is_adopted
from ctrlplane_gitops.providers.kubernetes.applying import Applier
from ctrlplane_gitops.providers.kubernetes.foreign import describe_deployment, print_of
from ctrlplane_gitops.providers.kubernetes.name import (
    APPLIED,
    AUTOSCALED,
    LABEL_ADOPTED,
    PORTS,
    service_name,
    set_name,
    set_selector,
)
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.template import Release, ReleaseTemplate
from ctrlplane_gitops.value import replace

if TYPE_CHECKING:
    from ctrlplane_gitops.providers.kubernetes.acting import Site

_FIRST = 1
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


def find_foreign(site: Site, name: str, instance: ResourceKey) -> Foreign:
    """``<namespace>/<Deployment>``. In another namespace than the tenant's it can be described
    alone: what a release is reached by and keeps is in one namespace."""
    namespace, slash, deployment = name.partition("/")
    found = site.api.get(DEPLOYMENT, namespace, deployment) if slash else None
    if found is None:
        raise ProviderError(
            f"{site.name}: there is no Deployment {name!r}", hint="give <namespace>/<name>"
        )
    foreign = describe_deployment(found)
    home = site.lookup.namespace_of(instance.tenant)
    if namespace != home:
        note = (
            f"it is not in the namespace of tenant {instance.tenant} ({home}), so it stays, and "
            "the first release is started beside it"
        )
        return replace(foreign, is_described_only=True, notes=(note, *foreign.notes))
    labels = found["spec"]["template"]["metadata"].get("labels") or {}
    return replace(
        foreign,
        obstacles=(*foreign.obstacles, *_find_obstacles(site, namespace, instance)),
        notes=(*_find_services(site, namespace, labels), *foreign.notes),
    )


def _find_obstacles(site: Site, namespace: str, instance: ResourceKey) -> Iterator[str]:
    """What its next release would meet in the namespace."""
    found = site.api.get(NAMESPACE, None, namespace)
    owner = owner_labels(site.plane, instance.tenant)
    held = {} if found is None else found["metadata"].get("labels") or {}
    if not owner.items() <= held.items():
        labels = " ".join(f"{name}={value}" for name, value in owner.items())
        hand_over = f"kubectl label namespace {namespace} {labels}"
        yield f"namespace {namespace} is not handed over: {hand_over}"
    for kind, name in (
        (SERVICE, service_name(instance)),
        (SERVICE, set_name(instance, _FIRST)),
        (DEPLOYMENT, set_name(instance, _FIRST)),
    ):
        if site.api.get(kind, namespace, name) is not None:
            yield f"there is a {kind.kind} {name} already: give the instance another name"


def _find_services(site: Site, namespace: str, labels: Mapping[str, str]) -> Sequence[str]:
    """Those of somebody else that lead to its pods."""

    def read(item: Any) -> str:
        selector = item["spec"].get("selector") or {}
        is_its = selector and selector.items() <= labels.items()
        return str(item["metadata"]["name"]) if is_its else ""

    found = site.api.read_all(SERVICE, {}, read, namespace=namespace)
    names = ", ".join(sorted(filter(None, found)))
    if not names:
        return ()
    return (
        f"Service {names} leads to its pods, and to none of the next release: before that, move "
        "whoever uses it to a Route, or to the Service that has the instance's name",
    )


def adopt(site: Site, settings: ProviderSettings, adoption: Adoption) -> None:
    """Labels first, by which it is ours; the Service by which it is reached is what a pass would
    make as well."""
    foreign, instance, number = adoption.foreign, adoption.instance, adoption.release
    namespace, _, name = foreign.name.partition("/")
    effects, warnings = Effects(settings.on_effect), list[str]()
    applier = Applier(site.api, effects, warnings)
    found = site.api.get(DEPLOYMENT, namespace, name)
    if found is None or found["metadata"]["uid"] != foreign.id:
        raise ProviderError(f"Deployment {foreign.name!r} is not there any more")
    selector = set_selector(site.plane, instance, number)
    held = found["metadata"].get("labels") or {}
    if not is_adopted(found, selector):
        if LABEL_PLANE in held:
            raise ConflictError(
                f"Deployment {foreign.name!r} is of the control plane {held[LABEL_PLANE]!r}"
            )
        labels = {**selector, LABEL_REVISION: adoption.revision, LABEL_ADOPTED: "true"}
        ports = ",".join(f"{port.name}={port.port}" for port in foreign.ports)
        annotations = {PORTS: ports, APPLIED: print_of(found)}
        if foreign.is_autoscaled:
            annotations[AUTOSCALED] = "true"
        metadata = {
            "name": name,
            "namespace": namespace,
            "uid": foreign.id,
            "labels": labels,
            "annotations": annotations,
        }
        found = applier.apply(DEPLOYMENT, {"metadata": metadata})
    template = ReleaseTemplate(settings.config.alias, foreign.image, ports=foreign.ports)
    release = Release(instance, number, adoption.revision, template, "", _LONG_AGO)
    ensure_service(site, release, found, applier)
