"""What somebody else has changed in a cluster: named, and put back or left alone."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from typing import Any

import pytest

from ctrlplane_gitops.cluster.connection import MERGE, Answer, Connection
from ctrlplane_gitops.providers.conformance_kit import WEB, blob_digest, wait_until
from ctrlplane_gitops.providers.kubernetes.provider import KubernetesProvider
from ctrlplane_gitops.redact import SecretValue
from ctrlplane_gitops.state.action import Material, RemoveInstance, ScaleReplicaSet
from ctrlplane_gitops.state.key import Kind, ResourceKey
from ctrlplane_gitops.state.observed import ReplicaPhase
from ctrlplane_gitops.state.template import FileMount, Release, SecretMount, SecretType
from tests.kubernetes.spec import deployment
from tests.providers.kubernetes_kit import KubernetesHooks

pytestmark = pytest.mark.kubernetes
SECOND = timedelta(seconds=1)
TOKEN, KEY, PULL = (ResourceKey(Kind.SECRET, "acme", name) for name in ("token", "key", "pull"))


class TestDrift(KubernetesHooks):
    """Pods that only say they run, which is quick."""

    image = "app:1"

    def test_replicas_that_kubectl_has_scaled_are_taken_back_and_it_is_said(
        self, provider: KubernetesProvider
    ) -> None:
        self.scale(provider, self.make_release(), 2)
        self.kubectl("scale", "deployment/web-v1", "--replicas=4")
        wait_until(lambda: len(self.live(provider)) == 4, "four pods")
        assert self.altered(provider) == ["spec.replicas (by kubectl)"]
        outcome = self.scale(provider, self.make_release(), 2)
        assert "set to 4 by kubectl" in " ".join(outcome.warnings)
        assert len(self.live(provider)) == 2 and self.altered(provider) == []

    def test_an_image_set_by_hand_is_named_with_who_did_it_and_put_back(
        self, provider: KubernetesProvider
    ) -> None:
        self.scale(provider, self.make_release(), 1)
        self.kubectl("set", "image", "deployment/web-v1", "app=app:9")
        assert [it for it in self.altered(provider) if "image (by kubectl-set)" in it]
        outcome = self.scale(provider, self.make_release(), 1)
        assert outcome.effects > 0 and "kubectl-set" in " ".join(outcome.warnings)
        assert self.image_of() == "app:1" and self.altered(provider) == []
        assert self.scale(provider, self.make_release(), 1).effects == 0

    def test_what_was_added_by_hand_goes(self, provider: KubernetesProvider) -> None:
        self.scale(provider, self.make_release(), 1)
        self.kubectl("set", "env", "deployment/web-v1", "DEBUG=1")
        self.kubectl("rollout", "restart", "deployment/web-v1")
        assert len(self.altered(provider)) >= 2
        self.scale(provider, self.make_release(), 1)
        assert self.altered(provider) == []
        assert "DEBUG" not in json.dumps(self.seen("Deployment", "web-v1")["spec"])

    def test_what_was_taken_out_by_hand_is_named_and_put_back(
        self, provider: KubernetesProvider
    ) -> None:
        """It leaves no trace in the metadata."""
        release = self.make_release(env={"GREETING": "x", "OTHER": "y"})
        self.scale(provider, release, 1)
        before = self.seen("Deployment", "web-v1")["spec"]
        self.kubectl("set", "env", "deployment/web-v1", "GREETING-")
        change = '[{"op": "remove", "path": "/spec/template/spec/containers/0/lifecycle"}]'
        self.kubectl("patch", "deployment/web-v1", "--type=json", "-p", change)
        assert self.altered(provider) == [
            "spec.template: env.GREETING is gone", "spec.template: lifecycle is gone",
        ]  # fmt: skip
        self.scale(provider, release, 1)
        assert self.altered(provider) == []
        assert self.seen("Deployment", "web-v1")["spec"] == before
        assert self.scale(provider, release, 1).effects == 0

    def test_a_service_deleted_by_hand_is_made_again(self, provider: KubernetesProvider) -> None:
        self.scale(provider, self.make_release(), 1)
        self.kubectl("delete", "service", "web-v1")
        assert self.altered(provider) == ["the Service web-v1 is gone"]
        self.scale(provider, self.make_release(), 1)
        assert self.altered(provider) == []

    def test_a_service_changed_by_hand_is_put_back(self, provider: KubernetesProvider) -> None:
        self.scale(provider, self.make_release(), 1)
        before = self.seen("Service", "web-v1")["spec"]
        change = '{"spec": {"type": "NodePort", "ports": [{"port": 8080, "targetPort": 9}]}}'
        self.kubectl("patch", "service", "web-v1", "--type=merge", "-p", change)
        assert any("of the Service (by kubectl" in item for item in self.altered(provider))
        self.scale(provider, self.make_release(), 1)
        assert self.altered(provider) == []
        assert self.seen("Service", "web-v1")["spec"] == before
        self.kubectl("label", "service", "web-v1", "ctrlplane.dev/plane-")
        assert self.altered(provider) == ["the Service web-v1 is gone"]
        self.scale(provider, self.make_release(), 1)
        assert self.altered(provider) == []

    def shop(self) -> tuple[Release, Material]:
        """A release with a secret, a file and a credential of a registry."""
        mount = FileMount("/conf/a", blob_digest(b"a"))
        release = self.make_release(
            files=(mount,),
            secrets=(
                SecretMount(TOKEN, SecretType.ENV, "TOKEN", "d"),
                SecretMount(KEY, SecretType.FILE, "/run/key", "d"),
                SecretMount(PULL, SecretType.REGISTRY, "registry.example.com", ""),
            ),
        )
        secrets = {TOKEN: b"hunter22", KEY: b"hunter33", PULL: b"user:hunter44"}
        return release, Material(
            {mount.digest: b"a"}, {key: SecretValue(value) for key, value in secrets.items()}
        )

    def held(self) -> list[Any]:
        """Everything there is in Secrets and ConfigMaps."""
        return [
            self.seen("Secret", "web-v1")["data"],
            self.seen("Secret", "web-v1-pull")["data"],
            self.seen("ConfigMap", "web-v1")["binaryData"],
        ]

    @pytest.mark.parametrize(
        ("command", "altered"),
        [
            (
                "patch secret web-v1 --type=merge -p " + '{"data":{"token":"c2Vzc2FtZQ=="}}',
                ["data.token of the Secret web-v1 (by kubectl-patch)"],
            ),
            (
                "patch secret web-v1 --type=merge -p " + '{"data":{"key":null,"more":"eA=="}}',
                [
                    "data.more of the Secret web-v1 (by kubectl-patch)",
                    "data.key of the Secret web-v1 is gone",
                ],
            ),
            (
                "patch configmap web-v1 --type=merge -p " + '{"binaryData":{"f0":"eA=="}}',
                ["binaryData.f0 of the ConfigMap web-v1 (by kubectl-patch)"],
            ),
            (
                "patch secret web-v1-pull --type=merge -p "
                + '{"data":{".dockerconfigjson":"e30="}}',
                ["data..dockerconfigjson of the Secret web-v1-pull (by kubectl-patch)"],
            ),
            ("delete secret web-v1", ["the Secret web-v1 is gone"]),
            ("delete configmap web-v1", ["the ConfigMap web-v1 is gone"]),
            ("label configmap web-v1 ctrlplane.dev/plane-", ["the ConfigMap web-v1 is gone"]),
        ],
    )
    def test_what_somebody_did_to_contents_is_named_by_key_and_put_back(
        self, provider: KubernetesProvider, command: str, altered: list[str]
    ) -> None:
        release, material = self.shop()
        self.perform(provider, ScaleReplicaSet(WEB, self.alias, release, 1), material)
        before = self.held()
        assert self.altered(provider) == []
        self.kubectl(*command.split())
        assert self.altered(provider) == altered
        outcome = self.perform(provider, ScaleReplicaSet(WEB, self.alias, release, 1), material)
        assert self.altered(provider) == [] and self.held() == before
        assert "hunter" not in str(outcome.warnings) and "c2Vz" not in str(outcome.warnings)
        again = self.perform(provider, ScaleReplicaSet(WEB, self.alias, release, 1), material)
        assert again.effects == 0

    def test_contents_are_not_listed_where_there_are_none_and_never_with_values(
        self, provider: KubernetesProvider
    ) -> None:
        release, material = self.shop()
        self.perform(provider, ScaleReplicaSet(WEB, self.alias, release, 1), material)
        before, asked = provider.site.api.connection, list[tuple[str, bytes]]()

        class Noting(Connection):
            def request(self, method: str, path: str, what: str, **options: Any) -> Answer:
                answer = super().request(method, path, what, **options)
                asked.append((path.rpartition("/")[2], answer.content))
                return answer

        provider.site.api.connection = Noting(before.access)
        assert self.altered(provider) == []
        assert [name for name, _ in asked] == [
            "deployments", "services", "pods", "secrets", "configmaps",
        ]  # fmt: skip
        values = [base64.b64encode(value) for value in (b"hunter22", b"hunter33")]
        assert not any(value in content for value in values for _, content in asked)

    def test_a_label_taken_away_by_hand_makes_nothing_twice(
        self, provider: KubernetesProvider
    ) -> None:
        self.scale(provider, self.make_release(), 2)
        wait_until(
            lambda: all(it.phase is ReplicaPhase.RUNNING for it in self.live(provider)), "the pods"
        )
        before = [item.id for item in self.live(provider)]
        self.kubectl("label", "deployment", "web-v1", "ctrlplane.dev/plane-")
        assert self.altered(provider) == ["metadata.labels[ctrlplane.dev/plane]"]
        assert [item.id for item in self.live(provider)] == before
        self.scale(provider, self.make_release(), 2)
        assert [item.id for item in self.live(provider)] == before

    @pytest.mark.parametrize(
        ("command", "altered"),
        [
            ("deployment web-v1 ctrlplane.dev/revision-", "[ctrlplane.dev/revision]"),
            (
                "deployment web-v1 ctrlplane.dev/tenant=other",
                "[ctrlplane.dev/tenant] (by kubectl-label)",
            ),
            (
                "deployment web-v1 app.kubernetes.io/managed-by=Helm",
                "[app.kubernetes.io/managed-by] (by kubectl-label)",
            ),
            ("service web-v1 ctrlplane.dev/tenant-", "[ctrlplane.dev/tenant] of the Service"),
            (
                "service web-v1 ctrlplane.dev/revision=x",
                "[ctrlplane.dev/revision] of the Service (by kubectl-label)",
            ),
            (
                "configmap web-v1 ctrlplane.dev/revision-",
                "[ctrlplane.dev/revision] of the ConfigMap web-v1",
            ),
        ],
    )
    def test_a_label_taken_away_or_changed_is_named_and_put_back(
        self, provider: KubernetesProvider, command: str, altered: str
    ) -> None:
        release, material = self.shop()
        action = ScaleReplicaSet(WEB, self.alias, release, 1)
        self.perform(provider, action, material)
        kind, name, label = command.split()
        before = self.seen(kind.title().replace("map", "Map"), name)["metadata"]["labels"]
        self.kubectl("label", "--overwrite", kind, name, label)
        assert self.altered(provider) == [f"metadata.labels{altered}"]
        self.perform(provider, action, material)
        assert self.altered(provider) == []
        assert self.seen(kind.title().replace("map", "Map"), name)["metadata"]["labels"] == before

    def test_a_label_that_is_put_back_by_hand_is_ours_again(
        self, provider: KubernetesProvider
    ) -> None:
        self.scale(provider, self.make_release(), 1)
        for label in ("ctrlplane.dev/tenant-", f"ctrlplane.dev/tenant={WEB.tenant}"):
            self.kubectl("label", "service", "web-v1", label)
        named = "metadata.labels[ctrlplane.dev/tenant] of the Service (by kubectl-label)"
        assert self.altered(provider) == [named]
        self.scale(provider, self.make_release(), 1)
        assert self.altered(provider) == []

    @pytest.mark.parametrize("label", ["plane", "tenant", "release"])
    def test_what_lost_a_label_is_removed_with_its_instance(
        self, provider: KubernetesProvider, label: str
    ) -> None:
        self.scale(provider, self.make_release(), 1)
        self.kubectl("label", "deployment", "web-v1", f"ctrlplane.dev/{label}-")
        assert provider.find_leftovers() == ()
        self.perform(provider, RemoveInstance(WEB, self.alias))
        assert self.sets(provider) == {}
        assert self.rig.client.list("Deployment", self.namespace) == []

    def test_replicas_an_autoscaler_holds_are_left_alone(
        self, provider: KubernetesProvider
    ) -> None:
        self.scale(provider, self.make_release(), 2)
        path = f"/apis/apps/v1/namespaces/{self.namespace}/deployments/web-v1/scale"
        self.rig.client.send(
            "PATCH", path, {"spec": {"replicas": 3}}, kind=MERGE,
            fieldManager="kube-controller-manager",
        )  # fmt: skip
        wait_until(lambda: len(self.live(provider)) == 3, "three pods")
        seen = provider.observe()
        assert seen.replica_sets[0].scaled_by == "kube-controller-manager"
        assert seen.replica_sets[0].is_autoscaled is False
        assert seen.replica_sets[0].altered == ()
        outcome = self.attempt(provider, ScaleReplicaSet(WEB, self.alias, self.make_release(), 2))
        assert outcome.error is not None and "held by kube-controller-manager" in str(outcome.error)
        assert len(self.live(provider)) == 3

    def test_a_strangers_deployment_is_left_alone(self, provider: KubernetesProvider) -> None:
        self.scale(provider, self.make_release(2), 1)
        item = deployment("web-v1", "app:7", 1)
        self.rig.client.apply(item, self.namespace)
        outcome = self.attempt(provider, ScaleReplicaSet(WEB, self.alias, self.make_release(), 1))
        assert outcome.error is not None and "not ours" in str(outcome.error)
        self.perform(provider, RemoveInstance(WEB, self.alias))
        assert self.image_of() == "app:7"

    def test_a_field_another_controller_holds_is_an_error_that_names_it(
        self, provider: KubernetesProvider
    ) -> None:
        self.scale(provider, self.make_release(), 1)
        path = f"/apis/apps/v1/namespaces/{self.namespace}/deployments/web-v1"
        self.rig.client.send(
            "PATCH", path, {"spec": {"minReadySeconds": 5}}, kind=MERGE,
            fieldManager="other-operator",
        )  # fmt: skip
        assert self.altered(provider) == ["spec.minReadySeconds (by other-operator)"]
        outcome = self.attempt(provider, ScaleReplicaSet(WEB, self.alias, self.make_release(), 1))
        assert outcome.error is not None and not outcome.error.is_retryable
        assert "minReadySeconds of Deployment web-v1 is held by other-operator" in str(
            outcome.error
        )
        assert self.seen("Deployment", "web-v1")["spec"]["minReadySeconds"] == 5
