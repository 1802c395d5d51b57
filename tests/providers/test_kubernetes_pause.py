"""What a pod does between being told to go and SIGTERM."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from ctrlplane_gitops.providers.kubernetes.manifest import build_deployment
from ctrlplane_gitops.state.action import ScaleReplicaSet
from ctrlplane_gitops.state.template import Port
from ctrlplane_gitops.value import replace
from tests.providers.test_kubernetes_pure import TEMPLATE, action_of


def test_a_pod_that_is_told_to_go_answers_until_that_is_known() -> None:
    def pause(action: ScaleReplicaSet) -> Any:
        [container] = build_deployment("prod", "ns", action, 2)["spec"]["template"]["spec"][
            "containers"
        ]
        return container.get("lifecycle")

    ports = replace(TEMPLATE, ports=(Port("http", 8080),))
    assert pause(action_of(ports)) == {"preStop": {"sleep": {"seconds": 3}}}
    # Of a short time for its end not more than half.
    short = action_of(ports, stop_timeout=timedelta(seconds=2))
    assert pause(short) == {"preStop": {"sleep": {"seconds": 1}}}
    assert pause(action_of(ports, stop_timeout=timedelta(0))) is None
    # Nobody sends requests to who has no port.
    assert pause(action_of(replace(TEMPLATE, ports=()))) is None
