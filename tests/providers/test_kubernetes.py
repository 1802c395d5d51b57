"""The Kubernetes provider against a real API server, beyond the shipped suite."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from ctrlplane_gitops.cluster.access import Access
from ctrlplane_gitops.cluster.connection import Answer, Connection
from ctrlplane_gitops.errors import CapabilityError, UnreachableError
from ctrlplane_gitops.providers.base import Provider
from ctrlplane_gitops.providers.conformance import ProviderConformance
from ctrlplane_gitops.providers.conformance_kit import DB, WEB, blob_digest, wait_until
from ctrlplane_gitops.providers.kubernetes import removal
from ctrlplane_gitops.providers.kubernetes.provider import KubernetesProvider
from ctrlplane_gitops.redact import SecretValue
from ctrlplane_gitops.state.action import (
    Action,
    Material,
    Outcome,
    RemoveInstance,
    RemoveTenant,
    ScaleOwner,
    ScaleReplicaSet,
    UpdateResources,
)
from ctrlplane_gitops.state.desired import HealthCheck, ProbeType, Resources
from ctrlplane_gitops.state.key import Kind, ResourceKey, tenant_key
from ctrlplane_gitops.state.observed import ReplicaPhase, Verdict
from ctrlplane_gitops.state.template import FileMount, SecretMount, SecretType, Volume
from ctrlplane_gitops.value import replace
from tests.engines.kubernetes import write_kubeconfig
from tests.kubernetes import isolation
from tests.providers.kubernetes_kit import KubernetesHooks

pytestmark = pytest.mark.kubernetes
SECOND = timedelta(seconds=1)
BY_HAND = {
    "deployment": '{"spec": {"minReadySeconds": 1}}',
    "service": '{"spec": {"sessionAffinity": "ClientIP"}}',
}
ROLE = Path(__file__).parents[2] / "examples/kubernetes/role.yaml"


class TestKubernetesConformance(KubernetesHooks, ProviderConformance):
    """The shipped suite, watched as ``serve`` does it. Whoever only applies lists everything, as
    the others here do."""

    is_watched = True

    @pytest.fixture(autouse=True)
    def _able(self) -> None:
        if trouble := isolation.trouble():
            pytest.skip(f"containers cannot be isolated here: {trouble}")

    def attempt(
        self, provider: Provider, action: Action, material: Material | None = None
    ) -> Outcome:
        """And everything has come up: whoever has not is taken away before who is named."""
        outcome = super().attempt(provider, action, material)
        if self.is_patient and isinstance(action, ScaleReplicaSet) and outcome.error is None:
            number, instance = action.release.number, action.instance
            wait_until(
                lambda: all(
                    item.phase is ReplicaPhase.RUNNING
                    and item.verdict is not None
                    and item.verdict.is_ready
                    for item in self.live(provider, number, instance)
                ),
                "the pods",
            )
        self.measure()
        return outcome


class Counting(Connection):
    """Writes down what it asks."""

    def __init__(self, access: Access) -> None:
        super().__init__(access)
        self.asked: list[str] = []

    def request(self, method: str, path: str, what: str, **options: Any) -> Answer:
        self.asked.append(f"{method} {path}")
        return super().request(method, path, what, **options)


class TestDeployments(KubernetesHooks):
    """Pods that only say they run, which is quick."""

    image = "app:1"

    def count(self, provider: KubernetesProvider) -> list[str]:
        """What is asked from now on."""
        connection = Counting(provider.site.api.connection.access)
        provider.site.api.connection = connection
        return connection.asked

    def test_observe_is_three_lists_and_one_more_for_autoscalers(
        self, provider: KubernetesProvider
    ) -> None:
        self.scale(provider, self.make_release(instance=WEB), 2)
        self.scale(provider, self.make_release(instance=DB), 1)
        asked = self.count(provider)
        assert len(provider.observe().replica_sets) == 2
        lists = ["GET /apis/apps/v1/deployments", "GET /api/v1/services", "GET /api/v1/pods"]
        assert asked == lists
        left = ScaleReplicaSet(
            WEB, self.alias, self.make_release(instance=WEB), 2, owner=ScaleOwner.AUTOSCALER
        )
        self.perform(provider, left)
        asked.clear()
        assert [item.is_autoscaled for item in provider.observe().replica_sets] == [False, True]
        assert asked == [*lists, "GET /apis/autoscaling/v2/horizontalpodautoscalers"]

    def test_what_is_there_is_not_written_again(self, provider: KubernetesProvider) -> None:
        self.scale(provider, self.make_release(), 2)
        asked = self.count(provider)
        self.scale(provider, self.make_release(), 2)
        assert {item.split()[0] for item in asked} == {"GET"}

    def test_limits_that_cannot_change_in_place_replace_the_pods(
        self, provider: KubernetesProvider
    ) -> None:
        """Without limits a pod is of another class of service, and stays of it."""
        self.scale(provider, self.make_release(), 1)
        wait_until(lambda: self.live(provider)[0].phase is ReplicaPhase.RUNNING, "the pod")
        before = self.live(provider)[0].id
        limits = Resources(memory_bytes=64 << 20)
        outcome = self.perform(provider, UpdateResources(WEB, self.alias, limits))
        assert "cannot be changed in place" in outcome.warnings[0]

        def is_replaced() -> bool:
            now = self.live(provider)
            return len(now) == 1 and now[0].resources == limits and now[0].id != before

        wait_until(is_replaced, "the new pod")
        assert self.perform(provider, UpdateResources(WEB, self.alias, limits)).effects == 0
        assert self.altered(provider) == []

    def test_pods_that_come_later_have_the_limits_of_now(
        self, provider: KubernetesProvider
    ) -> None:
        small, big = Resources(memory_bytes=64 << 20), Resources(memory_bytes=96 << 20)
        self.scale(provider, self.make_release(), 1, resources=small)
        wait_until(lambda: self.live(provider)[0].phase is ReplicaPhase.RUNNING, "the pod")
        before = self.live(provider)[0].id
        self.perform(provider, UpdateResources(WEB, self.alias, big))
        self.scale(provider, self.make_release(), 2, resources=big)
        assert [item.resources for item in self.live(provider)] == [big, big]
        assert before in {item.id for item in self.live(provider)}
        assert not self.seen("Deployment", "web-v1")["spec"].get("paused")

    @pytest.mark.parametrize(
        ("image", "phase", "words"),
        [
            ("nosuch:1", ReplicaPhase.STARTING, "ImagePullBackOff"),
            ("crash:1", ReplicaPhase.CRASHING, "CrashLoopBackOff"),
        ],
    )
    def test_why_a_pod_does_not_run_is_said_with_its_name(
        self, provider: KubernetesProvider, image: str, phase: ReplicaPhase, words: str
    ) -> None:
        self.image = image
        self.scale(provider, self.make_release(), 1)

        def is_said() -> bool:
            [replica] = self.sets(provider)[1].replicas
            is_named = replica.reason.startswith("pod web-v1-")
            return replica.phase is phase and is_named and words in replica.reason

        wait_until(is_said, words)
        [replica] = self.live(provider)
        assert replica.verdict is not None and not replica.verdict.is_ready

    def test_a_pod_that_fits_nowhere_says_why(self, provider: KubernetesProvider) -> None:
        huge = Resources(cpu_millicores=1_000_000)
        self.scale(provider, self.make_release(), 1, resources=huge)
        wait_until(
            lambda: "Insufficient cpu" in self.live(provider)[0].reason, "the scheduler's word"
        )

    def test_pods_a_quota_refuses_are_asked_for_and_not_there(
        self, provider: KubernetesProvider
    ) -> None:
        self.scale(provider, self.make_release(), 1)
        quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "small"}}
        self.rig.client.apply(quota | {"spec": {"hard": {"pods": "1"}}}, self.namespace)
        self.scale(provider, self.make_release(), 2)
        wait_until(lambda: "exceeded quota" in self.live(provider)[1].reason, "the refusal")
        assert [item.phase for item in self.live(provider)] == [
            ReplicaPhase.RUNNING,
            ReplicaPhase.STARTING,
        ]

    def test_a_tenant_that_is_just_going_is_tried_again_later(
        self, provider: KubernetesProvider
    ) -> None:
        self.scale(provider, self.make_release(), 1)
        self.perform(provider, RemoveInstance(WEB, self.alias))
        self.perform(provider, RemoveTenant(tenant_key("acme"), self.alias))
        self.is_patient = False
        outcome = self.attempt(provider, ScaleReplicaSet(WEB, self.alias, self.make_release(), 1))
        assert outcome.error is not None and outcome.error.is_retryable
        assert "still being removed" in str(outcome.error)

    def test_volumes_that_are_kept_keep_their_namespace(self, provider: KubernetesProvider) -> None:
        release = self.make_release(volumes=(Volume("data", "/srv/data"),))
        self.scale(provider, release, 1)
        self.perform(provider, RemoveInstance(WEB, self.alias))
        outcome = self.perform(provider, RemoveTenant(tenant_key("acme"), self.alias))
        assert outcome.effects == 0 and "web-data" in outcome.warnings[0]
        assert provider.find_leftovers() == ()

    def test_a_namespace_that_was_handed_over_is_used_and_kept(
        self, provider: KubernetesProvider
    ) -> None:
        head = {"apiVersion": "v1", "kind": "Namespace"}
        self.rig.client.create(head | {"metadata": {"name": self.namespace}})
        self.is_patient = False
        action = ScaleReplicaSet(WEB, self.alias, self.make_release(), 1)
        outcome = self.attempt(provider, action)
        assert outcome.error is not None and "not ours" in str(outcome.error)
        assert outcome.error.hint is not None
        command = outcome.error.hint.partition("kubectl ")[2].split()
        assert self.rig.kubectl(*command).returncode == 0
        self.perform(provider, action)
        self.perform(provider, RemoveInstance(WEB, self.alias))
        assert provider.find_leftovers() == ()
        outcome = self.perform(provider, RemoveTenant(tenant_key("acme"), self.alias))
        assert outcome.effects == 0 and "not made by us" in outcome.warnings[0]

    def test_readiness_is_what_the_kubelet_says(self, provider: KubernetesProvider) -> None:
        check = HealthCheck("up", ProbeType.TCP, "http")
        release = self.make_release()
        action = ScaleReplicaSet(WEB, self.alias, release, 1, health=(check,))
        self.perform(provider, action)
        container = self.seen("Deployment", "web-v1")["spec"]["template"]["spec"]["containers"][0]
        assert container["readinessProbe"]["tcpSocket"] == {"port": 8080}
        assert container["startupProbe"]["periodSeconds"] == 1
        wait_until(
            lambda: (said := self.live(provider)[0].verdict) is not None and said.is_ready, "ready"
        )

    @pytest.mark.parametrize(
        ("image", "is_changed"), [("nosuch:1", True), ("app:1", False)], ids=["failed", "live"]
    )
    def test_another_check_reaches_pods_where_nobody_is_replaced_who_is_ready(
        self, provider: KubernetesProvider, image: str, is_changed: bool
    ) -> None:
        self.image = image
        # One whose image is not to be had cannot be waited for.
        self.is_patient = not is_changed
        release = self.make_release()
        wrong = (HealthCheck("up", ProbeType.HTTP, "http", path="/nosuch"),)
        right = (HealthCheck("up", ProbeType.HTTP, "http", path="/healthz"),)
        action = ScaleReplicaSet(WEB, self.alias, release, 1, health=wrong)
        self.perform(provider, action)
        if not is_changed:
            wait_until(lambda: self.verdict_of(provider).is_ready, "the pod")
        outcome = self.perform(provider, replace(action, health=right))
        spec = self.seen("Deployment", "web-v1")["spec"]["template"]["spec"]
        path = spec["containers"][0]["readinessProbe"]["httpGet"]["path"]
        assert path == ("/healthz" if is_changed else "/nosuch")
        assert (outcome.effects > 0) is is_changed
        assert self.perform(provider, replace(action, health=right)).effects == 0

    def verdict_of(self, provider: KubernetesProvider) -> Verdict:
        verdict = self.live(provider)[0].verdict
        assert verdict is not None
        return verdict

    def test_two_checks_are_one_too_many(self, provider: KubernetesProvider) -> None:
        checks = tuple(HealthCheck(name, ProbeType.TCP, "http") for name in ("a", "b"))
        action = ScaleReplicaSet(WEB, self.alias, self.make_release(), 1, health=checks)
        outcome = self.attempt(provider, action)
        assert isinstance(outcome.error, CapabilityError) and "a, b" in str(outcome.error)
        assert self.sets(provider) == {}

    def test_pods_may_be_moved_one_at_a_time(self, provider: KubernetesProvider) -> None:
        action = ScaleReplicaSet(WEB, self.alias, self.make_release(), 2, max_unavailable=0)
        self.perform(provider, action)
        path = f"/apis/policy/v1/namespaces/{self.namespace}/poddisruptionbudgets/web-v1"
        found = provider.site.api.connection.request("GET", path, "read it").json()
        assert found["spec"]["maxUnavailable"] == 1

    def test_what_a_finalizer_holds_is_said_and_gone_on_with(
        self, provider: KubernetesProvider, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(removal, "_MARGIN_S", 0.5)
        self.is_patient = False
        self.scale(provider, self.make_release(), 1)
        held = {"metadata": {"finalizers": ["example.com/audit"]}}
        self.rig.client.patch("Deployment", "web-v1", held, self.namespace)
        action = ScaleReplicaSet(WEB, self.alias, self.make_release(), 0, stop_timeout=SECOND)
        outcome = self.attempt(provider, action)
        assert outcome.error is not None and outcome.error.is_retryable
        assert "held by example.com/audit" in str(outcome.error)
        assert self.attempt(provider, action).effects == 0, "it is on its way already"
        self.rig.client.patch(
            "Deployment", "web-v1", {"metadata": {"finalizers": None}}, self.namespace
        )
        self.is_patient = True
        self.perform(provider, action)
        assert self.sets(provider) == {}

    def test_a_policy_that_says_no_is_quoted(self, provider: KubernetesProvider) -> None:
        """As an admission webhook would."""
        self.scale(provider, self.make_release(), 1)
        quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}}
        hard = {"hard": {"count/deployments.apps": "1"}}
        self.rig.client.apply(quota | {"spec": hard}, self.namespace)
        # One that is not counted yet refuses everything as well, but for another reason.
        wait_until(
            lambda: (
                self.rig.client.get("ResourceQuota", "none", self.namespace)
                .get("status", {})
                .get("used")
            ),
            "the quota to be counted",
        )
        action = ScaleReplicaSet(WEB, self.alias, self.make_release(2), 1)
        outcome = self.attempt(provider, action)
        assert outcome.error is not None and not outcome.error.is_retryable
        assert "exceeded quota: none" in str(outcome.error)
        assert list(self.sets(provider)) == [1]

    def test_whoever_has_the_role_of_the_example_needs_no_more(self, root: Path) -> None:
        rules = YAML(typ="safe").load(ROLE.read_text())["rules"]
        access = self.rig.make_user(f"user-{self.prefix}", rules)
        path = write_kubeconfig(access, root / "kubeconfig")
        self.environ = lambda: {"CTRLPLANE_KUBECONFIG": str(path)}  # type: ignore[method-assign]
        provider = self.build(self.plane, root, {})
        key = ResourceKey(Kind.SECRET, "acme", "token")
        mount = FileMount("/conf/a", blob_digest(b"a"))
        release = self.make_release(
            files=(mount,),
            secrets=(SecretMount(key, SecretType.ENV, "TOKEN", "d"),),
            volumes=(Volume("data", "/srv/data"),),
        )
        material = Material({mount.digest: b"a"}, {key: SecretValue(b"value")})
        limits = Resources(memory_bytes=64 << 20)
        action = ScaleReplicaSet(WEB, self.alias, release, 2, limits, max_unavailable=1)
        self.perform(provider, action, material)
        wait_until(lambda: self.live(provider)[1].phase is ReplicaPhase.RUNNING, "the pods")
        name = self.live(provider)[0].name
        retire = replace(action, replicas=1, retire=(name,))
        self.perform(provider, retire, material)
        self.perform(provider, UpdateResources(WEB, self.alias, Resources(memory_bytes=96 << 20)))
        for kind in ("deployment", "service"):
            self.kubectl("annotate", kind, "web-v1", "note=by-hand")
            self.kubectl("patch", kind, "web-v1", "--type=merge", "-p", BY_HAND[kind])
        assert len(self.sets(provider)[1].altered) >= 2
        self.perform(provider, retire, material)
        assert self.sets(provider)[1].altered == ()
        wait_until(lambda: len(self.live(provider)) == 1, "the pod of before")
        [left] = self.live(provider)
        wait_until(lambda: self.live(provider)[0].phase is ReplicaPhase.RUNNING, "its start")
        self.log_text(provider, left.name)
        assert provider.execute(left.name, ("true",), SECOND * 10).exit_code == 0
        provider.read_usage((left,))
        assert provider.find_leftovers() == ()
        self.clean(provider)
        provider.close()

    def test_an_api_server_that_restarts_is_no_reason_to_make_anything_twice(
        self, provider: KubernetesProvider
    ) -> None:
        self.scale(provider, self.make_release(), 1)
        before = self.live(provider)[0].id
        self.is_patient = False
        self.rig.kill_api()
        try:
            action = ScaleReplicaSet(WEB, self.alias, self.make_release(), 2)
            outcome = provider.perform(action, Material())
            assert isinstance(outcome.error, UnreachableError)
            assert provider.observe().gaps[0].provider == self.alias
        finally:
            self.rig.start_api()
        self.is_patient = True
        self.scale(provider, self.make_release(), 2)
        wait_until(lambda: len(self.live(provider)) == 2, "both pods")
        assert before in {item.id for item in self.live(provider)}
