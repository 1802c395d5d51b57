"""What the Kubernetes provider's tests are written with."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ctrlplane_gitops.clock import monotonic_s, sleep
from ctrlplane_gitops.providers.base import Provider, ProviderSettings
from ctrlplane_gitops.providers.conformance_kit import PATIENCE_S, ConformanceKit, wait_until
from ctrlplane_gitops.providers.kubernetes.provider import KubernetesProvider
from ctrlplane_gitops.providers.kubernetes.row import PodRow
from ctrlplane_gitops.state.action import Action, Material, Outcome
from ctrlplane_gitops.state.desired import Json, ProviderConfig
from ctrlplane_gitops.state.observed import ObservedReplica, ReplicaPhase
from ctrlplane_gitops.value import replace
from tests.kubernetes.client import Object
from tests.kubernetes.rig import Rig
from tests.kubernetes.role import role_kubeconfig
from tests.providers.docker_kit import ignore, run_beside


class KubernetesHooks(ConformanceKit):
    image = "python:3"
    is_patient = True

    @pytest.fixture(autouse=True)
    def connected(self, kubernetes_rig: Rig) -> Iterator[None]:
        """Each test has namespaces of its own: nobody waits for one to go."""
        self.rig = kubernetes_rig
        self.moment = datetime(2026, 1, 1, tzinfo=UTC)
        install_metrics(kubernetes_rig)
        self.prefix = f"t{secrets.token_hex(4)}"
        yield

    def make_provider(self, plane: str, root: Path) -> KubernetesProvider:
        return self.build(plane, root, {})

    def build(
        self, plane: str, root: Path, options: Json, on_effect: Callable[[str], None] = ignore
    ) -> KubernetesProvider:
        config = ProviderConfig(
            self.alias,
            "kubernetes",
            {"namespace": f"{self.prefix}-{{plane}}-{{tenant}}"} | dict(options),
        )
        settings = ProviderSettings(
            plane, config, str(root), run_beside, run_beside, on_effect, self.environ()
        )
        return KubernetesProvider(settings)

    def environ(self) -> dict[str, str]:
        """With the rights that we ship, and no more."""
        return {"CTRLPLANE_KUBECONFIG": str(role_kubeconfig(self.rig))}

    @property
    def namespace(self) -> str:
        return f"{self.prefix}-{self.plane}-acme"

    def attempt(
        self, provider: Provider, action: Action, material: Material | None = None
    ) -> Outcome:
        """What may pass is tried again, as the loop does; who measures, besides Kubernetes itself,
        is played by us."""
        outcome = super().attempt(provider, action, material)
        deadline = monotonic_s() + PATIENCE_S
        while self.is_patient and outcome.error is not None and outcome.error.is_retryable:
            if monotonic_s() > deadline:
                break
            sleep(0.2)
            outcome = super().attempt(provider, action, material)
        self.measure()
        return outcome

    def measure(self) -> None:
        """What each pod of ours uses: half a processor and 16 MiB."""
        self.moment += timedelta(seconds=15)
        for pod in self.rig.client.list("Pod", self.namespace):
            metadata = pod["metadata"]
            usage = {"cpu": "500m", "memory": "16Mi"}
            item = {
                "apiVersion": "metrics.k8s.io/v1beta1",
                "kind": "PodMetrics",
                "metadata": {"name": metadata["name"], "labels": metadata["labels"]},
                "timestamp": self.moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
                "window": "15s",
                "containers": [{"name": "app", "usage": usage}],
            }
            self.rig.client.apply(item, self.namespace)

    def spend(self, provider: Provider, replica: ObservedReplica) -> None:
        self.measure()

    def path(self, name: str) -> str:
        return f"/srv/{name}"

    def pod_of(self, provider: KubernetesProvider, replica: str) -> PodRow:
        return provider._find(replica)

    def kill_replica(self, provider: Provider, replica: ObservedReplica) -> None:
        """Its process is killed, and the kubelet does not get to start it again."""
        assert isinstance(provider, KubernetesProvider)
        wait_until(
            lambda: self.pod_of(provider, replica.name).phase is ReplicaPhase.RUNNING, "its start"
        )
        row = self.pod_of(provider, replica.name)
        pod = self.rig.kubelet.find(row.namespace, row.name)
        assert pod is not None and pod.running is not None
        pod.running.pause_s = lambda restarts: 3600.0  # type: ignore[method-assign]
        for state in pod.containers.values():
            state.back_off = lambda seconds: None  # type: ignore[method-assign]
        pod.running.kill()

    @contextmanager
    def break_provider(self, provider: Provider) -> Iterator[None]:
        """Nobody listens where the API server is said to be."""
        assert isinstance(provider, KubernetesProvider)
        connection = provider.site.api.connection
        before = connection.access
        connection.access = replace(before, server="https://127.0.0.1:1")
        self.is_patient = False
        yield
        self.is_patient = True
        connection.access = before

    def observable_text(self, provider: Provider, root: Path) -> str:
        """All but what is in Secrets, which is where it belongs."""
        kinds = ("Deployment", "ReplicaSet", "Pod", "Service", "ConfigMap", "Event")
        found = [self.rig.client.list(kind, self.namespace) for kind in kinds]
        return repr(provider.observe()) + json.dumps(found)

    def kubectl(self, *arguments: str) -> None:
        done = self.rig.kubectl("-n", self.namespace, *arguments)
        assert done.returncode == 0, done.stderr

    def altered(self, provider: Provider) -> list[str]:
        return [str(item) for item in self.sets(provider)[1].altered]

    def image_of(self) -> str:
        spec = self.seen("Deployment", "web-v1")["spec"]["template"]["spec"]
        return str(spec["containers"][0]["image"])

    def seen(self, kind: str, name: str) -> Object:
        return self.rig.client.get(kind, name, self.namespace)


def install_metrics(rig: Rig) -> None:
    """A place for what pods use, as the metrics-server has one."""
    name = "pods.metrics.k8s.io"
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1beta1", "served": True, "storage": True}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": name,
            "annotations": {"api-approved.kubernetes.io": "unapproved, for tests"},
        },
        "spec": {
            "group": "metrics.k8s.io",
            "scope": "Namespaced",
            "names": {"plural": "pods", "singular": "pod", "kind": "PodMetrics"},
            "versions": [version | {"schema": {"openAPIV3Schema": schema}}],
        },
    }
    rig.client.apply(definition)

    def is_served() -> bool:
        found = rig.client.get("CustomResourceDefinition", name)
        conditions = found.get("status", {}).get("conditions") or ()
        return any(it["type"] == "Established" and it["status"] == "True" for it in conditions)

    wait_until(is_served, "the metrics to be served")
