"""From rows of lists to replica sets, and from a replica's name to its pod. Pure.

Kubernetes chooses which pod is called what. A replica's index is its pod's place: those that we
have pinned have theirs, the others follow by age in the places that are free. Nothing is written
for it until somebody goes who is not the last.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType

from ctrlplane_gitops.providers.kubernetes.autoscaler import AutoscalerRow
from ctrlplane_gitops.providers.kubernetes.going import describe_holders
from ctrlplane_gitops.providers.kubernetes.held import Contents, find_altered
from ctrlplane_gitops.providers.kubernetes.quota import QuotaRow
from ctrlplane_gitops.providers.kubernetes.row import REPLICAS, DeploymentRow, PodRow, is_of_person
from ctrlplane_gitops.providers.scaling import replica_name
from ctrlplane_gitops.state.desired import Allowance, Resources
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.observed import (
    Alteration,
    AlteredPart,
    Endpoint,
    HeldQuota,
    ObservedReplica,
    ObservedReplicaSet,
    ReplicaPhase,
    Verdict,
)
from ctrlplane_gitops.value import struct

SetKey = tuple[ResourceKey, int]
# Those there are, by namespace and name: fields that somebody else has set, with who that was.
Services = Mapping[tuple[str, str], Sequence[tuple[str, str]]]
_FAR_PAST = datetime(1970, 1, 1, tzinfo=UTC)


def place_pods(pods: Iterable[PodRow]) -> dict[int, PodRow]:
    """The pods of one set by index. Of two with one pin the older has it."""
    found: dict[int, PodRow] = {}
    order = sorted(pods, key=lambda pod: (pod.is_final, pod.created_at, pod.name))
    rest = []
    for pod in order:
        if pod.index is not None and pod.index not in found:
            found[pod.index] = pod
        else:
            rest.append(pod)
    free = 0
    for pod in rest:
        while free in found:
            free += 1
        found[free] = pod
    return dict(sorted(found.items()))


def group_pods(pods: Iterable[PodRow]) -> dict[SetKey, list[PodRow]]:
    found: dict[SetKey, list[PodRow]] = {}
    for pod in pods:
        found.setdefault((pod.instance, pod.release), []).append(pod)
    return found


def staying(deployment: DeploymentRow, pods: Iterable[PodRow]) -> list[PodRow]:
    """The pods that count. Those of a set that stays are gone once they are told to go, as
    Kubernetes counts them; those of a set that goes are there until they have ended: what is left
    of them then is a finalizer's."""
    return [
        pod
        for pod in pods
        if pod.namespace == deployment.namespace
        and not (pod.is_going and (pod.is_final or not deployment.is_going))
    ]


def describe_held(deployments: Iterable[DeploymentRow], pods: Iterable[PodRow]) -> list[str]:
    """Sets of which nothing runs any more, and that somebody's finalizers keep."""
    by_set, found = group_pods(pods), []
    for row in deployments:
        own = by_set.get((row.instance, row.release), [])
        if row.is_going and not staying(row, own):
            texts = describe_holders(row.finalizers, own)
            if texts:
                name = f"Deployment {row.namespace}/{row.name}"
                found.append(f"{name} is still being removed: {'; '.join(texts)}")
    return sorted(found)


def describe_changed(deployments: Iterable[DeploymentRow]) -> list[str]:
    """Adopted ones that do not run what they ran then, where nobody knows any more what that
    was."""
    return [
        f"Deployment {row.namespace}/{row.name} was changed since it was adopted as v{row.release} "
        f"of {row.instance}; it is left as it is until the next release takes its place"
        for row in deployments
        if row.adopted is not None and row.adopted.is_changed and not row.adopted.changed
    ]


@struct
class Seen:
    """What one look shows. ``strangers`` is how many Deployments carry our label but not the
    others, or are not in their tenant's namespace; ``notes`` are what cannot be watched, or
    looked at, and why. ``reached`` are the pods, by identity, that their Services lead to; None:
    nobody has asked, or may."""

    deployments: tuple[DeploymentRow, ...]
    pods: tuple[PodRow, ...]
    services: Services
    autoscalers: tuple[AutoscalerRow, ...] = ()
    contents: Contents = MappingProxyType({})
    strangers: int = 0
    notes: tuple[str, ...] = ()
    quotas: Mapping[str, QuotaRow] = MappingProxyType({})
    limited: frozenset[str] = frozenset()
    reached: frozenset[str] | None = None


def build_sets(
    provider: str,
    plane: str,
    seen: Seen,
    keys: Collection[ResourceKey] | None = None,
    *,
    is_mirrored: bool = False,
) -> tuple[ObservedReplicaSet, ...]:
    """Sorted."""
    by_set = group_pods(seen.pods)
    found = []
    for row in seen.deployments:
        if keys is None or row.instance in keys:
            own = staying(row, by_set.get((row.instance, row.release), ()))
            replicas = _build_replicas(plane, row, own, _find_reached(row, seen))
            # One without pods is there as well: of a release that was begun, or scaled to nothing.
            if replicas or not row.is_going:
                altered = (*_find_altered(row, seen), *_find_astray(row, seen))
                found.append(
                    ObservedReplicaSet(
                        row.instance,
                        provider,
                        row.release,
                        row.revision,
                        replicas,
                        is_adopted=row.adopted is not None,
                        altered=altered,
                        scaled_by=_find_scaler(row),
                        scale=row.replicas,
                        quota=_find_quota(row, seen, is_mirrored=is_mirrored),
                        is_autoscaled=row.is_autoscaled,
                    )
                )
    return tuple(sorted(found, key=lambda item: (item.instance, item.release)))


def _find_reached(row: DeploymentRow, seen: Seen) -> frozenset[str] | None:
    """None where it does not matter: nobody is led there, or not by what we have written, which is
    drift of the set and no fault of its pods."""
    is_ours = seen.services.get((row.namespace, row.service), row) == ()
    return seen.reached if row.ports and is_ours else None


def _build_replicas(
    plane: str, row: DeploymentRow, pods: Sequence[PodRow], reached: frozenset[str] | None
) -> tuple[ObservedReplica, ...]:
    placed = place_pods(pods)
    endpoints = tuple(
        Endpoint(name, f"{row.service}.{row.namespace}.svc", number) for name, number in row.ports
    )
    found = {
        index: _build_replica(plane, row, index, pod, endpoints, reached)
        for index, pod in placed.items()
    }
    # What is asked for and not there yet, or refused.
    missing = 0 if row.is_going else row.replicas - sum(1 for pod in pods if not pod.is_final)
    # Until the controller knows of the last change, it speaks of the one before.
    reason = f"no pod yet: {row.failure}" if row.failure and row.is_seen else "no pod yet"
    free = (index for index in range(row.replicas + len(found)) if index not in placed)
    for _, index in zip(range(missing), free, strict=False):
        found[index] = ObservedReplica(
            replica_name(plane, row.instance, row.release, index),
            f"{row.uid}/{index}",
            index,
            ReplicaPhase.STARTING,
            endpoints,
            reason=reason,
            verdict=Verdict(False, _FAR_PAST, 0, reason),
        )
    return tuple(found[index] for index in sorted(found))


def _build_replica(
    plane: str,
    row: DeploymentRow,
    index: int,
    pod: PodRow,
    endpoints: tuple[Endpoint, ...],
    reached: frozenset[str] | None,
) -> ObservedReplica:
    verdict, reason = pod.verdict, pod.reason
    if row.is_going or pod.is_going:
        reason = reason or f"pod {pod.name} is being stopped"
        verdict = Verdict(False, verdict.since, 0, reason)
    elif verdict.is_ready and reached is not None and pod.uid not in reached:
        # Who sends requests goes by the Service, which hears of a ready pod a moment later.
        reason = f"pod {pod.name} is ready, and the Service {row.service} does not lead to it yet"
        verdict = Verdict(False, verdict.since, 0, reason)
    return ObservedReplica(
        replica_name(plane, row.instance, row.release, index),
        pod.uid,
        index,
        pod.phase,
        endpoints,
        pod.started_at,
        held_limits(pod, row.limits),
        pod.exit_code,
        reason,
        verdict,
    )


def held_limits(pod: PodRow, asked: Resources) -> Resources:
    """What we hold a pod to. Where nothing was asked, a LimitRange of the namespace may have filled
    something in, which is its owner's business."""
    if not pod.is_limited_by_others:
        return pod.limits
    return Resources(
        pod.limits.cpu_millicores if asked.cpu_millicores is not None else None,
        pod.limits.memory_bytes if asked.memory_bytes is not None else None,
    )


def _find_altered(row: DeploymentRow, seen: Seen) -> tuple[Alteration, ...]:
    if row.is_going:
        return ()
    scaler = (REPLICAS, _find_scaler(row))
    found = [
        Alteration(field, by, AlteredPart.COUNT if field == REPLICAS else AlteredPart.RELEASE)
        for field, by in row.foreign
        if (field, by) != scaler
    ]
    found += [Alteration(field, by) for field, by in row.adopted.changed] if row.adopted else []
    found += [Alteration(f"spec.template: {part} is gone") for part in row.taken]
    service = seen.services.get((row.namespace, row.service))
    if row.ports and service is None:
        found.append(Alteration(f"the Service {row.service} is gone"))
    found += [Alteration(f"{field} of the Service", by) for field, by in service or ()]
    found += find_altered(row.namespace, row.needed, seen.contents)
    return tuple(found)


def _find_quota(row: DeploymentRow, seen: Seen, *, is_mirrored: bool) -> HeldQuota | None:
    if row.namespace not in seen.limited:
        return None
    found = seen.quotas.get(row.namespace)
    if found is None:
        return HeldQuota(Allowance(), is_mirrored)
    return HeldQuota(found.allowance, is_mirrored, found.by)


def _find_astray(row: DeploymentRow, seen: Seen) -> Iterator[Alteration]:
    """Autoscalers of the instance that act on something else."""
    for item in seen.autoscalers:
        is_its = (item.namespace, item.instance) == (row.namespace, row.instance)
        if is_its and not row.is_going and item.target != row.name:
            text = (
                f"the HorizontalPodAutoscaler {item.name} acts on {item.target or 'another kind'}"
            )
            yield Alteration(text, item.by, AlteredPart.AUTOSCALER)


def _find_scaler(row: DeploymentRow) -> str:
    """Who else decides how many pods there are: a controller. What a person has set is drift."""
    for field, by in row.foreign:
        if field == REPLICAS and not is_of_person(by):
            return by
    return ""


def find_pod(plane: str, replica: str, pods: Iterable[PodRow]) -> PodRow | None:
    """The pod that is called that; those that are going are not."""
    by_set = group_pods(pod for pod in pods if not pod.is_going)
    for (instance, release), own in by_set.items():
        for index, pod in place_pods(own).items():
            if replica_name(plane, instance, release, index) == replica:
                return pod
    return None


def index_names(plane: str, pods: Iterable[PodRow]) -> Mapping[str, str]:
    """The replica's name by namespace/name of its pod, of those that live."""
    by_set = group_pods(pod for pod in pods if not pod.is_going)
    return {
        f"{pod.namespace}/{pod.name}": replica_name(plane, instance, release, index)
        for (instance, release), own in by_set.items()
        for index, pod in place_pods(own).items()
        if pod.is_live
    }
