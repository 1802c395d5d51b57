"""A pod that is ready, and whom its Service leads to."""

from __future__ import annotations

from typing import Any

import pytest

from ctrlplane_gitops.providers.kubernetes.row import read_deployment, read_reached
from ctrlplane_gitops.providers.kubernetes.view import Seen, build_sets
from tests.providers.test_kubernetes_pure import deployment_item, pod


@pytest.mark.parametrize(
    ("endpoint", "is_reached"),
    [
        ({"conditions": {"ready": True}, "targetRef": {"uid": "uid-a"}}, True),
        ({"conditions": {}, "targetRef": {"uid": "uid-a"}}, True),
        ({"conditions": {"ready": False}, "targetRef": {"uid": "uid-a"}}, False),
        ({"conditions": {"ready": True}, "targetRef": {"uid": "uid-b"}}, False),
        ({"conditions": {"ready": True}}, False),
    ],
)
def test_a_pod_is_as_ready_as_its_service_knows(
    endpoint: dict[str, Any], *, is_reached: bool
) -> None:
    row = read_deployment(deployment_item(1))
    assert row is not None
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-03-01T12:00:00Z"}
    own = pod("a", phase="Running", conditions=[ready])
    reached = frozenset(read_reached({"endpoints": [endpoint]}))
    services: Any = {("prod-acme", "web-v3"): ()}
    [found] = build_sets("kube", "prod", Seen((row,), (own,), services, reached=reached))
    verdict = found.replicas[0].verdict
    assert verdict is not None and verdict.is_ready is is_reached
    text = "pod a is ready, and the Service web-v3 does not lead to it yet"
    assert verdict.message == ("" if is_reached else text)
    # Nothing is known about it where nobody has asked; a Service that was changed is drift instead.
    by_hand: Any = {("prod-acme", "web-v3"): (("spec.selector", "kubectl"),)}
    for seen in (
        Seen((row,), (own,), services),
        Seen((row,), (own,), by_hand, reached=reached),
        Seen((row,), (own,), {}, reached=reached),
    ):
        [found] = build_sets("kube", "prod", seen)
        assert found.replicas[0].verdict is not None and found.replicas[0].verdict.is_ready
