"""What somebody else has changed in a cluster: named, and put back or left alone."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from ctrlplane_gitops.cluster.connection import MERGE
from ctrlplane_gitops.providers.conformance_kit import WEB, wait_until
from ctrlplane_gitops.providers.kubernetes.provider import KubernetesProvider
from ctrlplane_gitops.state.action import (
    RemoveInstance,
    ScaleReplicaSet,
)
from tests.kubernetes.spec import deployment
from tests.providers.kubernetes_kit import KubernetesHooks

pytestmark = pytest.mark.kubernetes
SECOND = timedelta(seconds=1)


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

    def test_a_label_taken_away_by_hand_makes_nothing_twice(
        self, provider: KubernetesProvider
    ) -> None:
        self.scale(provider, self.make_release(), 2)
        before = [item.id for item in self.live(provider)]
        self.kubectl("label", "deployment", "web-v1", "ctrlplane.dev/plane-")
        assert self.sets(provider) == {}
        self.scale(provider, self.make_release(), 2)
        assert [item.id for item in self.live(provider)] == before

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
