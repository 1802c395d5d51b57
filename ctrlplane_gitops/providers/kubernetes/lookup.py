"""The lists that looking is made of: a few calls for a whole control plane."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from ctrlplane_gitops.cluster.api import Api
from ctrlplane_gitops.cluster.resource import CONFIG_MAP, DEPLOYMENT, POD, SECRET, SERVICE
from ctrlplane_gitops.providers.base import LABEL_INSTANCE, LABEL_PLANE, LABEL_RELEASE, LABEL_TENANT
from ctrlplane_gitops.providers.kubernetes.autoscaler import read_autoscalers
from ctrlplane_gitops.providers.kubernetes.config import KubernetesConfig
from ctrlplane_gitops.providers.kubernetes.held import Contents, read_content
from ctrlplane_gitops.providers.kubernetes.name import Owner, namespace_name
from ctrlplane_gitops.providers.kubernetes.row import (
    DeploymentRow,
    PodRow,
    read_deployment,
    read_pod,
    read_pod_of,
    read_service,
)
from ctrlplane_gitops.providers.kubernetes.view import Seen
from ctrlplane_gitops.state.key import ResourceKey

# Of so many the names fit into a URL that everybody takes.
_MOST_NAMED = 100


class Lookup:
    """What there is of one control plane."""

    def __init__(self, api: Api, plane: str, config: KubernetesConfig) -> None:
        self._api = api
        self._plane = plane
        self._config = config
        self._adopted: dict[tuple[ResourceKey, int], DeploymentRow] = {}

    def namespace_of(self, tenant: str) -> str:
        return namespace_name(self._config.namespace, self._plane, tenant)

    def see(self, keys: Collection[ResourceKey] | None = None) -> Seen:
        """Four lists, and one more each where there are secrets and files; of one namespace where
        all that is asked for is one tenant's, and of few instances where there are few: a rollout
        among thousands is looked at again and again."""
        labels = {LABEL_PLANE: self._plane}
        tenants = {key.tenant for key in keys or ()}
        namespace = None
        if len(tenants) == 1:
            labels[LABEL_TENANT] = tenants.pop()
            namespace = self.namespace_of(labels[LABEL_TENANT])
        if keys and len(keys) <= _MOST_NAMED:
            labels[LABEL_INSTANCE] = ",".join(sorted({key.name for key in keys}))
        deployments = self._api.read_all(DEPLOYMENT, labels, read_deployment, namespace=namespace)
        services = self._api.read_all(
            SERVICE,
            labels | {LABEL_RELEASE: ""},
            read_service,
            namespace=namespace,
            is_meta=True,
        )
        pods = self._api.read_all(POD, labels, read_pod, namespace=namespace)
        autoscalers = read_autoscalers(self._api, labels, namespace)
        ours = tuple(row for row in deployments if row is not None and self._is_at_home(row))
        adopted = [row for row in ours if row.adopted is not None]
        others = {
            at: row for at, row in self._adopted.items() if keys is not None and at[0] not in keys
        }
        self._adopted = others | {(row.instance, row.release): row for row in adopted}
        theirs = [pod for row in adopted for pod in self._pods_adopted(row)]
        return Seen(
            ours,
            (*(row for row in pods if row is not None), *theirs),
            dict(services),
            autoscalers,
            self._see_contents(ours, labels, namespace),
            len(deployments) - len(ours),
        )

    def _see_contents(
        self, rows: Iterable[DeploymentRow], labels: Mapping[str, str], namespace: str | None
    ) -> Contents:
        """Metadata alone: no secret leaves the server. Not asked where nobody has any."""
        needed = {item.kind for row in rows for item in row.needed}
        labels = {**labels, LABEL_RELEASE: ""}
        return {
            (kind.kind, *place): row
            for kind in (SECRET, CONFIG_MAP)
            if kind.kind in needed
            for place, row in self._api.read_all(
                kind, labels, read_content, namespace=namespace, is_meta=True
            )
        }

    def adopted(self, instance: ResourceKey, release: int) -> DeploymentRow | None:
        """The adopted Deployment that was seen to be that release; None where it is one of ours."""
        return self._adopted.get((instance, release))

    def _pods_adopted(self, row: DeploymentRow) -> list[PodRow]:
        """Those that an adopted Deployment selects, which carry no labels of ours."""
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

    def pods_of(
        self, instance: ResourceKey | None = None, release: int | None = None
    ) -> list[PodRow]:
        """Pods of an instance, of one of its releases, or of everything."""
        labels = {LABEL_PLANE: self._plane}
        namespace = None
        if instance is not None:
            labels |= {LABEL_TENANT: instance.tenant, LABEL_INSTANCE: instance.name}
            namespace = self.namespace_of(instance.tenant)
        if release is not None:
            labels[LABEL_RELEASE] = str(release)
        adopted = None
        if instance is not None and release is not None:
            adopted = self.adopted(instance, release)
        if adopted is not None:
            return self._pods_adopted(adopted)
        found = self._api.read_all(POD, labels, read_pod, namespace=namespace)
        return [row for row in found if row is not None]
