"""Which pods go when there are to be fewer: those that were named, however busy a cluster is."""

from __future__ import annotations

import threading

import pytest

from ctrlplane_gitops.providers.conformance_kit import WEB, wait_until
from ctrlplane_gitops.providers.kubernetes import marking
from ctrlplane_gitops.providers.kubernetes.provider import KubernetesProvider
from ctrlplane_gitops.state.action import Outcome, ScaleReplicaSet
from ctrlplane_gitops.state.observed import ReplicaPhase
from tests.providers.kubernetes_kit import KubernetesHooks

pytestmark = pytest.mark.kubernetes


class TestChoice(KubernetesHooks):
    """Pods that only say they run, which is quick."""

    image = "app:1"

    def run_three(self, provider: KubernetesProvider) -> list[str]:
        """Who they are, by index."""
        self.scale(provider, self.make_release(), 3)
        wait_until(
            lambda: all(
                item.verdict is not None and item.verdict.is_ready for item in self.live(provider)
            ),
            "the pods",
        )
        return [item.id for item in self.live(provider)]

    def less(self) -> ScaleReplicaSet:
        """The first is to go, whom Kubernetes would keep."""
        return ScaleReplicaSet(WEB, self.alias, self.make_release(), 2, retire=(self.replica(0),))

    def marks(self) -> list[str]:
        found = self.rig.client.list("Pod", self.namespace)
        return [it["metadata"]["name"] for it in found if not revision(it)]

    def test_fewer_are_asked_for_once_the_controller_knows_who_goes(
        self, provider: KubernetesProvider
    ) -> None:
        before = self.run_three(provider)
        outcomes: list[Outcome] = []
        with self.rig.frozen("kube-controller-manager"):
            thread = threading.Thread(
                target=lambda: outcomes.append(self.attempt(provider, self.less()))
            )
            thread.start()
            wait_until(lambda: len(self.marks()) == 1, "the mark")
            # Longer than it would take.
            thread.join(0.5)
            assert self.seen("Deployment", "web-v1")["spec"]["replicas"] == 3
        thread.join()
        assert outcomes[0].error is None
        assert [item.id for item in self.live(provider)] == before[1:]

    def test_a_controller_that_takes_no_notice_is_said_and_tried_again(
        self, provider: KubernetesProvider, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(marking, "_PATIENCE_S", 0.3)
        before = self.run_three(provider)
        self.is_patient = False
        with self.rig.frozen("kube-controller-manager"):
            outcome = self.attempt(provider, self.less())
        assert outcome.error is not None and outcome.error.is_retryable
        assert "has not taken notice" in str(outcome.error)
        self.is_patient = True
        # Somebody else is to go by now: whoever was chosen before stays.
        last = ScaleReplicaSet(WEB, self.alias, self.make_release(), 2, retire=(self.replica(2),))
        monkeypatch.undo()
        assert self.attempt(provider, last).error is None
        assert [item.id for item in self.live(provider)] == before[:2]
        assert self.marks() == []
        assert [item.phase for item in self.live(provider)] == [ReplicaPhase.RUNNING] * 2


def revision(pod: dict[str, dict[str, dict[str, str]]]) -> str:
    return pod["metadata"]["labels"]["ctrlplane.dev/revision"]
