"""``ScaleReplicaSet``: a Deployment with what belongs to it, as many pods as asked for, and those
gone that were named."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from ctrlplane_gitops.cluster.failure import ApiError
from ctrlplane_gitops.cluster.resource import (
    CLAIM,
    CONFIG_MAP,
    DEPLOYMENT,
    DISRUPTION_BUDGET,
    POD,
    SECRET,
    SERVICE,
    ResourceType,
)
from ctrlplane_gitops.providers.base import LABEL_REPLICA
from ctrlplane_gitops.providers.container import owner_labels
from ctrlplane_gitops.providers.effects import Effects
from ctrlplane_gitops.providers.kubernetes.adopted import ensure_service, is_adopted, retire_pods
from ctrlplane_gitops.providers.kubernetes.applying import (
    Applier,
    check_owner,
    held_by,
    merge_metadata,
    not_ours,
)
from ctrlplane_gitops.providers.kubernetes.autoscaler import (
    aim,
    is_scaled,
    is_scaled_by_others,
    rest,
    write_owner,
)
from ctrlplane_gitops.providers.kubernetes.content import (
    build_files,
    build_pull_secret,
    build_secret,
)
from ctrlplane_gitops.providers.kubernetes.going import is_going, still_going
from ctrlplane_gitops.providers.kubernetes.labelled import find_relabelled, own_labels
from ctrlplane_gitops.providers.kubernetes.manifest import (
    Object,
    build_budget,
    build_claim,
    build_deployment,
    build_instance_service,
    build_service,
    check_release,
    own,
)
from ctrlplane_gitops.providers.kubernetes.marking import mark_pods
from ctrlplane_gitops.providers.kubernetes.name import SHAPE, set_name, set_selector
from ctrlplane_gitops.providers.kubernetes.original import restore
from ctrlplane_gitops.providers.kubernetes.probe import build_probes, has_probes
from ctrlplane_gitops.providers.kubernetes.quota import ensure_quota
from ctrlplane_gitops.providers.kubernetes.removal import remove_set
from ctrlplane_gitops.providers.kubernetes.row import (
    REPLICAS,
    PodRow,
    find_container,
    find_foreign,
    is_of_person,
)
from ctrlplane_gitops.providers.kubernetes.shape import find_taken
from ctrlplane_gitops.providers.kubernetes.tenant import ensure_tenant
from ctrlplane_gitops.providers.kubernetes.versioned import write_at_version
from ctrlplane_gitops.providers.kubernetes.view import place_pods
from ctrlplane_gitops.providers.kubernetes.waiting import wait_for
from ctrlplane_gitops.providers.scaling import (
    ScaleSteps,
    Slot,
    check_material,
    compute_scale,
    replica_name,
)
from ctrlplane_gitops.state.action import Material, ScaleOwner, ScaleReplicaSet
from ctrlplane_gitops.units import format_bytes

if TYPE_CHECKING:
    from ctrlplane_gitops.providers.kubernetes.acting import Site

# How long pods are waited for that Kubernetes stops, and makes in the place of others. What takes
# longer is seen by the next look, and so is what only comes.
_MADE_S = 2.0
_STOPPED_S = 10.0


class Scaling:
    """One action."""

    def __init__(
        self,
        site: Site,
        action: ScaleReplicaSet,
        material: Material,
        effects: Effects,
        warnings: list[str],
    ) -> None:
        self._site = site
        self._action = action
        self._material = material
        self._effects = effects
        self._applier = Applier(site.api, effects, warnings)
        self._warnings = warnings
        self._release = action.release
        self._tenant = action.instance.tenant
        self._namespace = site.lookup.namespace_of(self._tenant)
        self._adopted = site.lookup.adopted(action.instance, action.release.number)
        made = set_name(action.instance, action.release.number)
        self._name = self._adopted.name if self._adopted else made
        self._selector = set_selector(site.plane, action.instance, action.release.number)

    def run(self) -> None:
        found = self._site.api.get(DEPLOYMENT, self._namespace, self._name)
        is_there = found is not None and is_adopted(found, self._selector)
        # Whose it is can be told by the selector, which nobody can change.
        if found is not None and not (is_there if self._adopted else self._is_selected(found)):
            raise not_ours("Deployment", found)
        if self._action.replicas == 0:
            stop_s = self._action.stop_timeout.total_seconds()
            remove_set(self._site, self._action.instance, self._release.number, stop_s,
                       self._effects, found)  # fmt: skip
        elif found is None:
            self._make()
        elif is_going(found):
            raise still_going("Deployment", found["metadata"], self._all_pods())
        else:
            self._change(found)

    def _is_selected(self, found: Object) -> bool:
        return bool(found["spec"]["selector"]["matchLabels"] == self._selector)

    def _make(self) -> None:
        """The Deployment first, for it owns the others; without pods while there is something they
        need to start."""
        check_release(self._release)
        check_material(self._release.template, self._material)
        contents = self._contents()
        desired = build_deployment(
            self._site.plane, self._namespace, self._action, self._action.replicas
        )
        ensure_tenant(self._site, self._tenant, self._namespace, self._applier)
        ensure_quota(self._site, self._action, self._effects)
        try:
            self._ensure_claims()
            first = desired if not contents else _with_replicas(desired, 0)
            made = self._applier.apply(DEPLOYMENT, first)
        except ApiError as error:
            # The namespace is not what it was: the next try looks.
            self._site.tenants.forget(self._namespace)
            error.is_retryable = error.is_retryable or error.is_absent
            raise
        self._ensure_belongings(made, contents, is_new=True)
        if contents:
            self._set_replicas(made)

    def _change(self, found: Object) -> None:
        pods = self._pods()
        if self._adopted:
            # What only shrinks, because another takes its place, is left as it is.
            if self._action.replicas >= _count(found):
                found = restore(self._site, found, self._effects, self._warnings)
        elif _is_altered(found, self._action) or self._may_probe_anew(found, pods):
            found = self._repair(found)
            pods = self._pods()
        placed = place_pods(pods)
        replicas = self._action.replicas
        if self._action.owner is ScaleOwner.AUTOSCALER:
            replicas = _count(found) or replicas
        slots = [Slot(index, self._replica(index), pod.is_live) for index, pod in placed.items()]
        steps = compute_scale(slots, replicas, self._action.retire)
        if steps.start or steps.replace:
            check_material(self._release.template, self._material)
            self._ensure_claims()
        if self._adopted:
            ensure_service(self._site, self._release, found, self._applier)
        else:
            self._ensure_belongings(found, self._contents_known())
        self._pin(placed, steps)
        ensure_quota(self._site, self._action, self._effects)
        found = write_owner(self._site, self._action, found, self._effects)
        if self._action.owner is ScaleOwner.AUTOSCALER:
            aim(self._site, self._action.instance, self._name, self._effects)
        if self._is_to_be_scaled(found):
            self._mark(placed, steps)
            self._set_replicas(found)
        self._delete(placed, steps)
        if steps.replace or steps.remove:
            self._await_pods(replicas)

    def _is_to_be_scaled(self, found: Object) -> bool:
        """Whether there are not as many as there should be, and that is ours to change. An
        autoscaler that would take it back rests first."""
        now, wanted, instance = _count(found), self._action.replicas, self._action.instance
        if now == wanted:
            return False
        match self._action.owner:
            case ScaleOwner.SPECS:
                return True
            case ScaleOwner.AUTOSCALER:
                return not now and not is_scaled_by_others(found)
            case ScaleOwner.ROLLOUT:
                if now < wanted:
                    return not is_scaled(self._site, instance, self._name)
                rest(self._site, instance, self._name, self._effects)
                return True

    def _may_probe_anew(self, found: Object, pods: Sequence[PodRow]) -> bool:
        """Whether the health check is another one and nobody is ready who would be replaced for it:
        of a release that did not come up, which is tried again."""
        wanted = build_probes(self._action.health, self._release.template)
        is_same = has_probes(find_container(found["spec"]["template"]["spec"]), wanted)
        return not is_same and not any(pod.verdict.is_ready for pod in pods)

    def _repair(self, found: Object) -> Object:
        """Put back what a person has changed, added or taken away, at the number of replicas there
        is: to change that as well is the next step's. What another controller holds is an error."""
        check_release(self._release)
        managed = found["metadata"].get("managedFields") or ()
        for field, manager in sorted(set(find_foreign(managed))):
            if field != REPLICAS:
                if not is_of_person(manager):
                    raise held_by("Deployment", self._name, field, manager)
                self._warnings.append(
                    f"Deployment {self._name}: {field} is as it was before {manager}"
                )
        desired = build_deployment(self._site.plane, self._namespace, self._action, _count(found))

        def write(current: Object) -> Object:
            metadata = merge_metadata(current, desired)
            with self._effects.made(f"repair:{self._name}"):
                return self._site.api.replace(DEPLOYMENT, desired | {"metadata": metadata})

        return write_at_version(self._site.api, DEPLOYMENT, found, write)

    def _set_replicas(self, found: Object) -> None:
        """By the version that was looked at: who has changed it meanwhile is not overrun."""
        for field, manager in find_foreign(found["metadata"].get("managedFields") or ()):
            if field == REPLICAS and self._action.owner is ScaleOwner.SPECS and not self._adopted:
                if not is_of_person(manager):
                    raise held_by("Deployment", self._name, field, manager)
                before = found["spec"].get("replicas")
                self._warnings.append(
                    f"Deployment {self._name}: replicas were set to {before} by {manager}, and "
                    f"are {self._action.replicas} again"
                )

        def write(current: Object) -> None:
            metadata = {"resourceVersion": current["metadata"]["resourceVersion"]}
            body = {"metadata": metadata, "spec": {"replicas": self._action.replicas}}
            with self._effects.made(f"scale:{self._name}"):
                self._site.api.patch(DEPLOYMENT, self._namespace, self._name, body)

        write_at_version(self._site.api, DEPLOYMENT, found, write)

    def _contents(self) -> list[tuple[ResourceType, Object]]:
        """What pods need to start."""
        place = (self._site.plane, self._namespace, self._release, self._material)
        built = (
            (SECRET, build_secret(*place)),
            (CONFIG_MAP, build_files(*place)),
            (SECRET, build_pull_secret(*place)),
        )
        return [(kind, desired) for kind, desired in built if desired is not None]

    def _contents_known(self) -> list[tuple[ResourceType, Object]]:
        """The same where all of it was handed in; what only goes needs none of it."""
        template, material = self._release.template, self._material
        is_known = all(item.secret in material.secrets for item in template.secrets) and all(
            item.digest in material.files for item in template.files
        )
        return self._contents() if is_known else []

    def _ensure_belongings(
        self,
        deployment: Object,
        contents: Iterable[tuple[ResourceType, Object]],
        *,
        is_new: bool = False,
    ) -> None:
        """``is_new``: there should be none of them yet."""
        plane, namespace = self._site.plane, self._namespace
        owned: list[tuple[ResourceType, Object | None]] = [
            (SERVICE, build_service(plane, namespace, self._release)),
            (DISRUPTION_BUDGET, build_budget(plane, namespace, self._action)),
            *contents,
        ]
        for kind, desired in owned:
            if desired is not None:
                self._applier.ensure(kind, own(desired, deployment), self._selector, is_new=is_new)
        shared = build_instance_service(plane, namespace, self._release)
        if shared is not None:
            labels = owner_labels(plane, self._tenant, self._action.instance.name)
            is_first = is_new and self._release.number == 1
            self._applier.ensure(SERVICE, shared, labels, is_new=is_first)

    def _ensure_claims(self) -> None:
        """Claims outlive everything; one that is there stays as it is."""
        site, instance = self._site, self._action.instance
        for volume in self._release.template.volumes:
            size = site.config.volume_size
            if volume.size_bytes is not None:
                size = format_bytes(volume.size_bytes)
            desired = build_claim(
                site.plane, self._namespace, instance, volume.name, size, site.config
            )
            found = site.api.get(CLAIM, self._namespace, desired["metadata"]["name"])
            if found is None:
                self._applier.apply(CLAIM, desired)
            elif is_going(found):
                raise still_going(CLAIM.kind, found["metadata"])
            else:
                owner = owner_labels(site.plane, instance.tenant, instance.name)
                check_owner(CLAIM, found, owner)

    def _all_pods(self) -> list[PodRow]:
        return self._site.lookup.pods_of(self._action.instance, self._release.number)

    def _pods(self) -> list[PodRow]:
        return [pod for pod in self._all_pods() if not pod.is_going]

    def _replica(self, index: int) -> str:
        instance, number = self._action.instance, self._release.number
        return replica_name(self._site.plane, instance, number, index)

    def _pin(self, placed: Mapping[int, PodRow], steps: ScaleSteps) -> None:
        """When somebody goes who is not the last, the others keep their index only if it is
        written down."""
        gone = {*steps.remove, *steps.replace}
        kept = [index for index in placed if index not in gone]
        if not gone or not kept or min(gone) > max(kept):
            return
        for index in kept:
            if placed[index].index != index:
                labels = {"labels": {LABEL_REPLICA: str(index)}}
                with self._effects.made(f"pin:{placed[index].name}"):
                    self._site.api.patch(
                        POD, self._namespace, placed[index].name, {"metadata": labels}
                    )

    def _mark(self, placed: Mapping[int, PodRow], steps: ScaleSteps) -> None:
        """Kubernetes chooses who goes when there are to be fewer; this is how it is told."""
        counted = {index: pod for index, pod in placed.items() if not pod.is_final}
        going = [pod for index, pod in counted.items() if index in steps.remove]
        staying = [pod for index, pod in counted.items() if index not in steps.remove]
        revision = self._release.revision
        if self._adopted:
            retire_pods(self._site, going, self._effects)
            return
        mark_pods(self._site, self._selector, revision, going, staying, self._effects)

    def _delete(self, placed: Mapping[int, PodRow], steps: ScaleSteps) -> None:
        """Those to be replaced, and the dead that Kubernetes does not count."""
        dead = [placed[index] for index in steps.remove if placed[index].is_final]
        for pod in [*(placed[index] for index in steps.replace), *dead]:
            with self._effects.made(f"remove:{pod.name}"):
                self._site.api.delete(POD, pod.namespace, pod.name, uid=pod.uid)

    def _await_pods(self, replicas: int) -> None:
        stop_s = self._action.stop_timeout.total_seconds()

        def is_there() -> bool:
            found = self._all_pods()
            staying = [pod for pod in found if not pod.is_going and not pod.is_final]
            is_stopping = any(pod.is_going for pod in found) or len(staying) > replicas
            self._is_stopping = is_stopping
            return len(staying) == replicas and not is_stopping

        self._is_stopping = False
        if not wait_for(is_there, _MADE_S) and self._is_stopping:
            wait_for(is_there, stop_s + _STOPPED_S)


def _with_replicas(desired: Object, replicas: int) -> Object:
    return desired | {"spec": desired["spec"] | {"replicas": replicas}}


def _count(found: Object) -> int:
    return int(found["spec"].get("replicas", 1))


def _is_altered(found: Object, action: ScaleReplicaSet) -> bool:
    """Whether a person has changed more of it than the number of replicas, or its labels."""
    if any(find_relabelled(found["metadata"], own_labels(found))):
        return True
    shape = (found["metadata"].get("annotations") or {}).get(SHAPE, "")
    if find_taken(found["spec"]["template"]["spec"], shape):
        return True
    managed = found["metadata"].get("managedFields") or ()
    return any(field != REPLICAS for field, _ in find_foreign(managed))
