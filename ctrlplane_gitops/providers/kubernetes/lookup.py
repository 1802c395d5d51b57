"""What looking is made of: a few calls for a whole control plane, or none while it is watched."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from ctrlplane_gitops.cluster.api import Api, Write
from ctrlplane_gitops.cluster.failure import ApiError
from ctrlplane_gitops.cluster.resource import (
    AUTOSCALER,
    CONFIG_MAP,
    DEPLOYMENT,
    ENDPOINT_SLICE,
    NAMESPACE,
    POD,
    SECRET,
    SERVICE,
)
from ctrlplane_gitops.providers.base import LABEL_INSTANCE, LABEL_PLANE, LABEL_RELEASE, LABEL_TENANT
from ctrlplane_gitops.providers.kubernetes.autoscaler import read_autoscaler
from ctrlplane_gitops.providers.kubernetes.config import KubernetesConfig
from ctrlplane_gitops.providers.kubernetes.held import Contents, read_content
from ctrlplane_gitops.providers.kubernetes.labelled import own_labels
from ctrlplane_gitops.providers.kubernetes.mirror import Mirror, Selection
from ctrlplane_gitops.providers.kubernetes.name import (
    Owner,
    namespace_name,
    set_name,
    set_selector,
)
from ctrlplane_gitops.providers.kubernetes.original import find_changed
from ctrlplane_gitops.providers.kubernetes.pace import Pace
from ctrlplane_gitops.providers.kubernetes.quota import QuotaRow, read_made, read_quotas
from ctrlplane_gitops.providers.kubernetes.row import (
    DeploymentRow,
    PodRow,
    read_deployment,
    read_pod,
    read_pod_of,
    read_reached,
    read_service,
)
from ctrlplane_gitops.providers.kubernetes.view import Seen
from ctrlplane_gitops.state.key import ResourceKey, instance_key
from ctrlplane_gitops.value import replace

if TYPE_CHECKING:
    from ctrlplane_gitops.providers.kubernetes.watcher import Watcher

_T = TypeVar("_T")
# What is between us and an API server may take URLs of 8 KiB, and no longer ones.
_MOST_TEXT = 3000
# There is one in every cluster, and it goes only with it.
_LANDMARK = "kube-system"


class Lookup:
    """What there is of one control plane. For several threads.

    While it is watched it is answered from what lists and watches have shown, where that is known
    to be current: with one call, which tells that the API server answers. Everything else is
    listed."""

    def __init__(self, api: Api, plane: str, config: KubernetesConfig) -> None:
        self._api = api
        self._plane = plane
        self._config = config
        labels = {LABEL_PLANE: plane}
        released = labels | {LABEL_RELEASE: ""}
        self._deployments = Mirror(Selection(DEPLOYMENT, labels, read_deployment))
        self._services = Mirror(Selection(SERVICE, released, read_service, is_meta=True))
        self._pods = Mirror(Selection(POD, labels, read_pod))
        # They carry the labels of their Services.
        self._slices = Mirror(Selection(ENDPOINT_SLICE, released, read_reached))
        # Metadata alone: no secret leaves the server.
        self._contents = tuple(
            Mirror(Selection(kind, released, read_content, is_meta=True))
            for kind in (SECRET, CONFIG_MAP)
        )
        # Where we may not look at them there are none of ours.
        self._autoscalers = Mirror(Selection(AUTOSCALER, labels, read_autoscaler, is_optional=True))
        self._lock = threading.Lock()
        self._is_watched = False
        self._landmark: str | None = None
        self.quotas: dict[str, QuotaRow] = {}
        self._adopted: dict[tuple[ResourceKey, int], DeploymentRow] = {}

    def namespace_of(self, tenant: str) -> str:
        return namespace_name(self._config.namespace, self._plane, tenant)

    def watch(self, on_change: Callable[[ResourceKey], None], pace: Pace) -> Sequence[Watcher]:
        """Each keeps one collection current, in a thread of its own; ``on_change`` is told whose
        objects have changed."""
        from ctrlplane_gitops.providers.kubernetes.watcher import Watcher

        def tell(item: Mapping[str, Any]) -> None:
            labels = item["metadata"].get("labels") or {}
            with suppress(KeyError, ValueError):
                on_change(instance_key(labels[LABEL_TENANT], labels[LABEL_INSTANCE]))

        self._is_watched = True
        return [Watcher(self._api, item, tell, pace) for item in self._mirrors]

    def take_write(self, write: Write) -> None:
        """We have written something: what is seen after that has to show it."""
        for item in self._mirrors:
            if item.selection.kind == write.kind:
                item.owe(write)

    def take_end(self, deployment: str) -> None:
        """The Deployment of this identity was seen to be gone."""
        self._deployments.owe_end(deployment, is_whole=True)

    def see(self, keys: Collection[ResourceKey] | None = None) -> Seen:
        """Of some instances, or of everything."""
        if self._is_watched:
            self._check()
        place = self._place(keys)
        deployments = self._read(self._deployments, keys, place)
        services = self._read(self._services, keys, place)
        pods = self._read(self._pods, keys, place)
        ours = tuple(
            self._see_changed(row)
            for row in (*deployments, *self._see_unlabelled(deployments, pods, keys))
            if row is not None and self._is_at_home(row) and (keys is None or row.instance in keys)
        )
        # Nobody is led anywhere where all is as the specs say.
        is_any_autoscaled = any(row.is_autoscaled for row in ours)
        autoscalers = self._read(self._autoscalers, keys, place) if is_any_autoscaled else ()
        quotas, limited = self._see_quotas(place, {row.namespace for row in ours})
        notes = [*self._find_troubles()]
        reached = None if keys is None else self._see_reached(ours, pods, keys, place, notes)
        return Seen(
            ours,
            (*(row for row in pods if row is not None), *self._see_adopted(ours, keys)),
            dict(services),
            tuple(row for row in autoscalers if row is not None),
            self._see_contents(ours, keys, place),
            sum(row is None or not self._is_at_home(row) for row in deployments),
            tuple(notes),
            quotas,
            limited,
            reached,
        )

    def _find_troubles(self) -> Iterator[str]:
        found = [item for item in self._mirrors if item.trouble]
        if found:
            kinds = ", ".join(item.selection.kind.plural for item in found)
            yield f"{kinds} are listed where they are needed, not watched: {found[0].trouble}"

    def _see_quotas(
        self, place: tuple[dict[str, str], str | None], used: Collection[str]
    ) -> tuple[dict[str, QuotaRow], frozenset[str]]:
        """What namespaces are held to, and which are to be held to anything: those that we made,
        which are asked for only where one of these has no quota yet."""
        if not self._config.quota:
            return {}, frozenset()
        labels, namespace = place
        own = {LABEL_PLANE: self._plane}
        own |= {name: it for name, it in labels.items() if name == LABEL_TENANT}
        quotas = read_quotas(self._api, own, namespace)
        others = {} if namespace is None else self.quotas
        self.quotas = {name: it for name, it in others.items() if name != namespace} | quotas
        is_any_without = self._config.is_quota_mirrored and not quotas.keys() >= set(used)
        made = read_made(self._api, own) if is_any_without else frozenset()
        return quotas, made | quotas.keys()

    def _see_contents(
        self,
        rows: Iterable[DeploymentRow],
        keys: Collection[ResourceKey] | None,
        place: tuple[dict[str, str], str | None],
    ) -> Contents:
        """Not asked where nobody has any."""
        needed = {item.kind for row in rows for item in row.needed}
        return {
            (item.selection.kind.kind, *where): row
            for item in self._contents
            if item.selection.kind.kind in needed
            for where, row in self._read(item, keys, place)
        }

    def _see_reached(
        self,
        rows: Iterable[DeploymentRow],
        pods: Iterable[PodRow | None],
        keys: Collection[ResourceKey],
        place: tuple[dict[str, str], str | None],
        notes: list[str],
    ) -> frozenset[str] | None:
        """Not asked where nobody is ready, nor about everything: what a release may do next hangs
        on it, and nothing else does. None where we may not ask, which is noted."""
        ready = {(pod.instance, pod.release) for pod in pods if pod and pod.verdict.is_ready}
        if not any(row.ports and (row.instance, row.release) in ready for row in rows):
            return None
        try:
            slices = self._read(self._slices, keys, place)
        except ApiError as error:
            if error.status != 403:
                raise
            text = "a ready pod may count before its Service leads to it, which cannot be seen"
            notes.append(f"{text}: {error.message}")
            return None
        return frozenset(uid for found in slices for uid in found)

    def pods_of(
        self, instance: ResourceKey | None = None, release: int | None = None
    ) -> list[PodRow]:
        """Pods of an instance, of one of its releases, or of everything."""
        if self._is_watched:
            self._check()
        keys = None if instance is None else (instance,)
        adopted = None
        if instance is not None and release is not None:
            adopted = self.adopted(instance, release)
        if adopted is not None:
            return self._pods_adopted(adopted)
        return [
            row
            for row in self._read(self._pods, keys, self._place(keys))
            if row is not None
            and (instance is None or row.instance == instance)
            and (release is None or row.release == release)
        ]

    @property
    def _mirrors(self) -> tuple[Mirror[Any], ...]:
        kept = self._deployments, self._services, self._pods, self._slices, self._autoscalers
        return *kept, *self._contents

    def _place(self, keys: Collection[ResourceKey] | None) -> tuple[dict[str, str], str | None]:
        """Labels and namespace that all of these have: where all are one tenant's, its own. Where
        there are few, by name: a rollout among thousands is looked at again and again."""
        labels: dict[str, str] = {}
        tenants = {key.tenant for key in keys or ()}
        for label, names in (
            (LABEL_TENANT, tenants),
            (LABEL_INSTANCE, {key.name for key in keys or ()}),
        ):
            # A comma is three characters there.
            if names and sum(len(name) + 3 for name in names) <= _MOST_TEXT:
                labels[label] = ",".join(sorted(names))
        return labels, self.namespace_of(tenants.pop()) if len(tenants) == 1 else None

    def _read(
        self,
        kept: Mirror[_T],
        keys: Collection[ResourceKey] | None,
        place: tuple[dict[str, str], str | None],
    ) -> Collection[_T]:
        """From what is known where that is current; a list of everything makes it known."""
        labels, namespace = place
        if not self._is_watched:
            return kept.selection.list(self._api, labels, namespace).rows.values()
        known = kept.read()
        if known is not None:
            return known
        if labels:
            return kept.selection.list(self._api, labels, namespace).rows.values()
        return kept.refresh(self._api)

    def _check(self) -> None:
        """Raises where the API server does not answer now: what is known is no answer then. In
        another cluster nothing of it is worth anything."""
        try:
            found = self._api.get(NAMESPACE, None, _LANDMARK)
        except ApiError as error:
            # Who may see some namespaces only is answered all the same.
            if error.status != 403:
                raise
            found = None
        uid = "" if found is None else str(found["metadata"]["uid"])
        with self._lock:
            before, self._landmark = self._landmark, uid
        if before is not None and before != uid:
            for item in self._mirrors:
                item.forget()

    def adopted(self, instance: ResourceKey, release: int) -> DeploymentRow | None:
        """The adopted Deployment that was seen to be that release; None where it is one of ours."""
        return self._adopted.get((instance, release))

    def _see_unlabelled(
        self,
        rows: Iterable[DeploymentRow | None],
        pods: Iterable[PodRow | None],
        keys: Collection[ResourceKey] | None,
    ) -> Iterator[DeploymentRow | None]:
        """Those that no list shows, for somebody has taken the label away that they are listed by;
        their pods are there. Each is asked for by its name."""
        known = {(row.namespace, row.instance, row.release) for row in rows if row is not None}
        alone = {
            (pod.namespace, pod.instance, pod.release)
            for pod in pods
            if pod is not None and not pod.is_going and (keys is None or pod.instance in keys)
        }
        for namespace, instance, release in sorted(alone - known):
            found = self.find_made(namespace, instance, release)
            if found is not None:
                yield read_deployment(found)

    def find_made(
        self, namespace: str, instance: ResourceKey, release: int
    ) -> Mapping[str, Any] | None:
        """The Deployment that we have made of a release, by its name and its selector, whatever
        became of its labels."""
        found = self._api.get(DEPLOYMENT, namespace, set_name(instance, release))
        wanted = set_selector(self._plane, instance, release)
        is_ours = found is not None and wanted.items() <= own_labels(found).items()
        return found if is_ours else None

    def _see_changed(self, row: DeploymentRow) -> DeploymentRow:
        """With what of an adopted one somebody has changed: few are, so each is asked for."""
        adopted = row.adopted
        if adopted is None or not adopted.is_changed:
            return row
        changed = find_changed(self._api, row.namespace, row.name)
        return replace(row, adopted=replace(adopted, changed=changed))

    def _see_adopted(
        self, rows: Iterable[DeploymentRow], keys: Collection[ResourceKey] | None
    ) -> list[PodRow]:
        """The pods of those that are adopted, and which these are."""
        adopted = [row for row in rows if row.adopted is not None]
        others = {
            at: row for at, row in self._adopted.items() if keys is not None and at[0] not in keys
        }
        self._adopted = others | {(row.instance, row.release): row for row in adopted}
        return [pod for row in adopted for pod in self._pods_adopted(row)]

    def _pods_adopted(self, row: DeploymentRow) -> list[PodRow]:
        """Those that an adopted Deployment selects, which carry no labels of ours: nobody watches
        them."""
        assert row.adopted is not None
        owner, name = Owner(row.instance, row.release, row.revision), row.adopted.container
        return self._api.read_all(
            POD,
            dict(row.adopted.selector),
            lambda item: read_pod_of(item, owner, name),
            namespace=row.namespace,
        )

    def _is_at_home(self, row: DeploymentRow) -> bool:
        """Whether it is where we would put it: with another ``namespace`` in the specs what there
        was before is not found by what is done."""
        return row.namespace == self.namespace_of(row.instance.tenant)
