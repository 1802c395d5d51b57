"""What a release becomes in Kubernetes, and what Kubernetes shows of it, without a cluster."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ctrlplane_gitops.errors import CapabilityError, ProviderError, UsageError
from ctrlplane_gitops.providers.base import ProviderSettings
from ctrlplane_gitops.providers.conformance_kit import WEB
from ctrlplane_gitops.providers.kubernetes.config import parse_config
from ctrlplane_gitops.providers.kubernetes.content import (
    build_files,
    build_pull_secret,
    build_secret,
)
from ctrlplane_gitops.providers.kubernetes.leftover import sort_out_leftovers
from ctrlplane_gitops.providers.kubernetes.manifest import (
    build_budget,
    build_deployment,
    build_service,
    check_release,
)
from ctrlplane_gitops.providers.kubernetes.name import set_name
from ctrlplane_gitops.providers.kubernetes.probe import check_probes
from ctrlplane_gitops.providers.kubernetes.provider import KubernetesProvider
from ctrlplane_gitops.providers.kubernetes.row import PodRow, read_deployment, read_pod
from ctrlplane_gitops.providers.kubernetes.view import Seen, build_sets, find_pod, place_pods
from ctrlplane_gitops.redact import SecretValue
from ctrlplane_gitops.state.action import Material, ScaleReplicaSet
from ctrlplane_gitops.state.desired import HealthCheck, ProbeType, ProviderConfig, Resources
from ctrlplane_gitops.state.key import Kind, ResourceKey, instance_key
from ctrlplane_gitops.state.observed import ObservedReplica, ReplicaPhase
from ctrlplane_gitops.state.template import (
    FileMount,
    Port,
    Release,
    ReleaseTemplate,
    SecretMount,
    SecretType,
    Volume,
)
from ctrlplane_gitops.value import replace
from tests.cluster.api_server import Reply, api_server, write_kubeconfig

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
TOKEN = ResourceKey(Kind.SECRET, "acme", "token")
REGISTRY = ResourceKey(Kind.SECRET, "acme", "registry")
TEMPLATE = ReleaseTemplate(
    "kube",
    image="shop:1",
    command=("serve", "--port", "$(PORT)"),
    env={"PRICE": "5$(X)"},
    ports=(Port("http", 8080), Port("a-port-with-a-long-name", 9000)),
)


def release_of(template: ReleaseTemplate = TEMPLATE, number: int = 3) -> Release:
    return Release(WEB, number, "rev", template, "c0ffee", AT)


def action_of(template: ReleaseTemplate = TEMPLATE, **options: Any) -> ScaleReplicaSet:
    return ScaleReplicaSet(WEB, "kube", release_of(template), 2, **options)


def container_of(template: ReleaseTemplate = TEMPLATE, **options: Any) -> Mapping[str, Any]:
    found = build_deployment("prod", "prod-acme", action_of(template, **options), 2)
    container: Mapping[str, Any] = found["spec"]["template"]["spec"]["containers"][0]
    return container


def test_a_command_is_left_for_kubernetes_to_expand_and_values_are_not() -> None:
    container = container_of()
    assert container["args"] == ["serve", "--port", "$(PORT)"]
    env = {item["name"]: item.get("value") for item in container["env"]}
    assert (env["PORT"], env["PRICE"]) == ("8080", "5$$(X)")


def test_a_long_name_of_a_port_is_kept_beside_the_container() -> None:
    assert [item["name"] for item in container_of()["ports"]] == ["http", "p9000"]
    service = build_service("prod", "prod-acme", release_of())
    assert service is not None
    names = [item["name"] for item in service["spec"]["ports"]]
    assert names == ["http", "a-port-with-a-long-name"]


def test_secrets_are_named_and_never_quoted() -> None:
    mounts = (
        SecretMount(TOKEN, SecretType.ENV, "TOKEN", "d1"),
        SecretMount(REGISTRY, SecretType.REGISTRY, "docker.io", "d2"),
    )
    template = replace(TEMPLATE, secrets=mounts)
    values = {TOKEN: SecretValue(b"s3cret-token"), REGISTRY: SecretValue(b"me:s3cret-pass\n")}
    deployment = build_deployment("prod", "prod-acme", action_of(template), 2)
    assert "s3cret" not in json.dumps(deployment)
    pod = deployment["spec"]["template"]["spec"]
    assert pod["imagePullSecrets"] == [{"name": "web-v3-pull"}]
    reference = {"secretKeyRef": {"name": "web-v3", "key": "token"}}
    assert {"name": "TOKEN", "valueFrom": reference} in pod["containers"][0]["env"]
    material = Material(secrets=values)
    secret = build_secret("prod", "prod-acme", release_of(template), material)
    pull = build_pull_secret("prod", "prod-acme", release_of(template), material)
    assert secret is not None and list(secret["data"]) == ["token"]
    assert pull is not None and pull["type"] == "kubernetes.io/dockerconfigjson"
    for item in (secret, pull):
        assert "s3cret" not in json.dumps(item["metadata"])


def test_a_rotated_pull_secret_is_another_one() -> None:
    mounts = (SecretMount(REGISTRY, SecretType.REGISTRY, "docker.io", ""),)
    release = release_of(replace(TEMPLATE, secrets=mounts))
    one, two = (
        build_pull_secret("prod", "n", release, Material(secrets={REGISTRY: SecretValue(value)}))
        for value in (b"me:one", b"me:two")
    )
    assert one is not None and two is not None
    assert one["metadata"]["annotations"] != two["metadata"]["annotations"]


def test_files_over_what_the_server_takes_are_refused() -> None:
    release = release_of(replace(TEMPLATE, files=(FileMount("/a", "d"),)))
    with pytest.raises(ProviderError, match="1048577 bytes"):
        build_files("prod", "n", release, Material(files={"d": b"x" * (1024 * 1024 + 1)}))


def test_relative_paths_are_below_the_working_directory() -> None:
    template = replace(
        TEMPLATE, files=(FileMount("conf/a", "d", 0o640),), volumes=(Volume("data", "data"),)
    )
    container = container_of(template)
    assert container["workingDir"] == "/app"
    paths = [item["mountPath"] for item in container["volumeMounts"]]
    assert paths == ["/app/data", "/app/conf/a"]


def test_a_limit_is_requested_as_well() -> None:
    container = container_of(resources=Resources(500, 64 << 20))
    limits = {"cpu": "500m", "memory": "67108864"}
    assert container["resources"] == {"limits": limits, "requests": limits}


def test_a_release_without_an_image_is_refused() -> None:
    with pytest.raises(ProviderError, match="needs an image"):
        check_release(release_of(replace(TEMPLATE, image=None)))


def test_a_single_pod_may_always_be_moved() -> None:
    two = build_budget("prod", "n", action_of(max_unavailable=0))
    assert two is not None and two["spec"]["maxUnavailable"] == 1
    one = replace(action_of(max_unavailable=0), replicas=1)
    assert build_budget("prod", "n", one) is None
    assert build_budget("prod", "n", action_of()) is None


def test_names_that_are_too_long_stay_apart() -> None:
    names = {set_name(instance_key("acme", "a" * 60 + end), 12) for end in "bc"}
    assert len(names) == 2 and all(len(name) <= 46 for name in names)
    assert set_name(instance_key("acme", "1web"), 1) == "i-1web-v1"


@pytest.mark.parametrize(
    ("check", "action"),
    [
        (HealthCheck("a", ProbeType.HTTP, "http", "/up"), "httpGet"),
        (HealthCheck("a", ProbeType.TCP, "http"), "tcpSocket"),
        (HealthCheck("a", ProbeType.GRPC, "http"), "grpc"),
        (HealthCheck("a", ProbeType.COMMAND, command=("true",)), "exec"),
    ],
)
def test_each_type_of_check_is_a_probe(check: HealthCheck, action: str) -> None:
    container = container_of(health=(replace(check, interval=timedelta(seconds=7), retries=4),))
    ready = container["readinessProbe"]
    assert action in ready and action in container["startupProbe"]
    assert (ready["periodSeconds"], ready["failureThreshold"]) == (7, 4)
    assert "livenessProbe" not in container


def test_statuses_that_the_kubelet_does_not_take_are_refused() -> None:
    with pytest.raises(CapabilityError, match="200-299"):
        check_probes((HealthCheck("a", ProbeType.HTTP, "http", statuses=(200, 299)),), WEB)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kubeconfig": "/root/.kube/config"}, "never for the repository"),
        ({"namespace": "apps"}, "must name each tenant"),
        ({"namespace": "Apps-{tenant}"}, "small letters"),
        ({"volumeAccess": "Sometimes"}, "'Sometimes'"),
        ({"timeout": "0s"}, "not positive"),
    ],
)
def test_wrong_options_are_named(options: Mapping[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse_config(ProviderConfig("kube", "kubernetes", options))


LABELS = {
    "ctrlplane.dev/plane": "prod",
    "ctrlplane.dev/tenant": "acme",
    "ctrlplane.dev/instance": "web",
    "ctrlplane.dev/release": "3",
    "ctrlplane.dev/revision": "rev",
}


def pod(name: str, second: int = 0, labels: Mapping[str, str] = {}, **status: Any) -> PodRow:
    metadata = {
        "name": name,
        "namespace": "prod-acme",
        "uid": f"uid-{name}",
        "labels": {**LABELS, **labels},
        "creationTimestamp": f"2026-03-01T12:00:{second:02}Z",
    }
    row = read_pod({"metadata": metadata, "spec": {"containers": []}, "status": status})
    assert row is not None
    return row


def container_status(**state: Any) -> list[dict[str, Any]]:
    return [{"name": "app", **state}]


def test_pods_have_their_places_by_age_and_pins_win() -> None:
    rows = [pod("new", 9), pod("old", 1), pod("pinned", 5, {"ctrlplane.dev/replica": "0"})]
    assert {index: row.name for index, row in place_pods(rows).items()} == {
        0: "pinned",
        1: "old",
        2: "new",
    }
    assert find_pod("prod", "prod.acme.web.v3.1", rows) == rows[1]
    assert find_pod("prod", "prod.acme.web.v3.7", rows) is None


def test_a_pod_that_has_ended_for_good_takes_nobodys_place() -> None:
    rows = [pod("gone", 1, phase="Failed", reason="Evicted"), pod("next", 5, phase="Running")]
    placed = place_pods(rows)
    assert [row.name for row in placed.values()] == ["next", "gone"]
    assert placed[1].phase is ReplicaPhase.STOPPED and "Evicted" in placed[1].reason


@pytest.mark.parametrize(
    ("status", "phase", "code", "words"),
    [
        ({"phase": "Pending"}, ReplicaPhase.STARTING, None, ""),
        (
            {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False",
             "reason": "Unschedulable", "message": "0/3 nodes"}]},
            ReplicaPhase.STARTING, None, "pod web: Unschedulable: 0/3 nodes",
        ),
        (
            {"phase": "Pending", "containerStatuses": container_status(
                state={"waiting": {"reason": "ImagePullBackOff", "message": "no such"}})},
            ReplicaPhase.STARTING, None, "pod web: ImagePullBackOff: no such",
        ),
        (
            {"phase": "Running", "containerStatuses": container_status(
                state={"waiting": {"reason": "CrashLoopBackOff"}},
                lastState={"terminated": {"exitCode": 3}})},
            ReplicaPhase.CRASHING, 3, "pod web: CrashLoopBackOff",
        ),
        (
            {"phase": "Running", "containerStatuses": container_status(
                state={"terminated": {"exitCode": 137, "reason": "OOMKilled"}})},
            ReplicaPhase.STOPPED, 137, "pod web: OOMKilled",
        ),
        (
            {"phase": "Running", "containerStatuses": container_status(
                state={"running": {"startedAt": "2026-03-01T12:00:00Z"}})},
            ReplicaPhase.RUNNING, None, "",
        ),
    ],
)  # fmt: skip
def test_a_pods_status_is_a_phase_and_a_reason(
    status: Any, phase: ReplicaPhase, code: int | None, words: str
) -> None:
    row = pod("web", **status)
    assert (row.phase, row.exit_code, row.reason) == (phase, code, words)


def test_readiness_is_that_of_the_pod_since_it_turned() -> None:
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-03-01T12:00:30Z"}
    running = container_status(state={"running": {}}, started=True)
    row = pod("web", phase="Running", conditions=[ready], containerStatuses=running)
    assert (row.verdict.is_ready, row.verdict.since) == (True, AT + timedelta(seconds=30))
    failed = ready | {"status": "False", "reason": "ContainersNotReady"}
    row = pod("web", phase="Running", conditions=[failed], containerStatuses=running)
    assert (row.verdict.is_ready, row.verdict.failures) == (False, 1)
    young = container_status(state={"running": {}}, started=False)
    row = pod("web", phase="Running", conditions=[failed], containerStatuses=young)
    assert row.verdict.failures == 0, "before its startup probe has passed it has not failed"


def deployment_item(replicas: int = 2, **metadata: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "name": "web-v3", "namespace": "prod-acme", "uid": "u", "labels": LABELS,
            "annotations": {"ctrlplane.dev/ports": "http=8080"}, **metadata,
        },
        "spec": {"replicas": replicas, "template": {"spec": {"containers": []}}},
        "status": {"conditions": [{"type": "ReplicaFailure", "status": "True",
                                   "reason": "FailedCreate", "message": "exceeded quota"}]},
    }  # fmt: skip


def test_what_is_asked_for_and_not_there_is_shown_with_its_reason() -> None:
    row = read_deployment(deployment_item())
    assert row is not None
    services: Any = {("prod-acme", "web-v3"): ()}
    [found] = build_sets("kube", "prod", Seen((row,), (pod("a", phase="Running"),), services))
    assert [item.name for item in found.replicas] == ["prod.acme.web.v3.0", "prod.acme.web.v3.1"]
    assert found.replicas[1].phase is ReplicaPhase.STARTING
    assert "exceeded quota" in found.replicas[1].reason
    [endpoint] = found.replicas[0].endpoints
    assert (endpoint.host, endpoint.number) == ("web-v3.prod-acme.svc", 8080)


def test_a_set_that_is_going_is_there_until_its_pods_have_gone() -> None:
    row = read_deployment(deployment_item(deletionTimestamp="2026-03-01T12:00:00Z"))
    assert row is not None
    [found] = build_sets("kube", "prod", Seen((row,), (pod("a", phase="Running"),), {}))
    assert [item.reason for item in found.replicas] == ["pod a is being stopped"]
    assert build_sets("kube", "prod", Seen((row,), (), {})) == ()


def test_a_release_that_was_only_begun_is_there_to_be_gone_on_with_or_removed() -> None:
    row = read_deployment(deployment_item(0))
    assert row is not None
    [found] = build_sets("kube", "prod", Seen((row,), (), {("prod-acme", "web-v3"): ()}))
    assert found.replicas == ()


def test_limits_that_a_limit_range_has_filled_in_are_not_ours() -> None:
    item = {
        "metadata": {
            "name": "a", "namespace": "prod-acme", "uid": "u", "labels": LABELS,
            "annotations": {"kubernetes.io/limit-ranger": "set: cpu"},
        },
        "spec": {"containers": [{"name": "app", "resources": {"limits": {"cpu": "1"}}}]},
    }  # fmt: skip
    row, limited = read_deployment(deployment_item(1)), read_pod(item)
    assert row is not None and limited is not None
    [found] = build_sets("kube", "prod", Seen((row,), (limited,), {}))
    assert found.replicas[0].resources == Resources()


def test_what_has_lost_its_deployment_is_a_leftover() -> None:
    def item(name: str, **labels: str) -> dict[str, Any]:
        return {"name": name, "namespace": "prod-acme", "labels": LABELS | labels}

    kinds = ("deployments", "persistentvolumeclaims", "pods", "services", "secrets", "configmaps",
             "poddisruptionbudgets")  # fmt: skip
    metadata: dict[str, list[Mapping[str, Any]]] = {kind: [] for kind in kinds}
    metadata["deployments"] = [item("web-v3")]
    metadata["secrets"] = [item("web-v3"), item("web-v2", **{"ctrlplane.dev/release": "2"})]
    home = {"metadata": {"name": "prod-gone", "labels": LABELS | {"ctrlplane.dev/tenant": "gone"}}}
    found = sort_out_leftovers("kube", metadata, [home])
    assert [(it.owner.address, it.release) for it in found] == [
        ("instance/acme/web", 2),
        ("tenant/gone", None),
    ]


def test_without_a_metrics_server_it_is_said_that_usage_cannot_be_told(tmp_path: Path) -> None:
    with api_server(tmp_path) as server:
        server.replies = [
            Reply(body={"items": []}),
            Reply(404, {"reason": "NotFound", "message": "the server could not find it"}),
        ]
        environ = {"CTRLPLANE_KUBECONFIG": str(write_kubeconfig(server, tmp_path))}
        settings = ProviderSettings(
            "prod", ProviderConfig("kube", "kubernetes"), str(tmp_path), environ=environ
        )
        provider = KubernetesProvider(settings)
        replica = ObservedReplica("prod.acme.web.v1.0", "u", 0, ReplicaPhase.RUNNING)
        with pytest.raises(CapabilityError, match=r"metrics\.k8s\.io"):
            provider.read_usage([replica])
        provider.close()
