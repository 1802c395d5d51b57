"""status alone: what is, from what is wanted, recorded and seen."""

from datetime import UTC, datetime

from ctrlplane_gitops.state.key import instance_key
from ctrlplane_gitops.state.observed import (
    ObservedReplica,
    ObservedReplicaSet,
    ObservedState,
    ReplicaPhase,
)
from ctrlplane_gitops.state.recorded import RecordedInstance, RecordedResource, RecordedState
from ctrlplane_gitops.state.template import Release, ReleaseState, ReleaseTemplate
from ctrlplane_gitops.status.render import render_status
from ctrlplane_gitops.status.view import build_status

WEB = instance_key("acme", "web")
now = datetime(2026, 1, 1, tzinfo=UTC)
template = ReleaseTemplate("local", command=("./web",))
release = Release(WEB, 1, "r1", template, "", now, ReleaseState.ACTIVE)
recorded = RecordedState(
    "prod",
    {WEB: RecordedResource(WEB, "f", '{"replicas": 2, "provider": "local"}')},
    {WEB: RecordedInstance(WEB, "local", release=1)},
    {WEB: (release,)},
)
replicas = (
    ObservedReplica("prod.acme.web.v1.0", "1", 0, ReplicaPhase.RUNNING),
    ObservedReplica("prod.acme.web.v1.1", "2", 1, ReplicaPhase.STOPPED, exit_code=1),
)
observed = ObservedState((ObservedReplicaSet(WEB, "local", 1, "r1", replicas),))
document = build_status("prod", "3f9c2ab", None, recorded, observed, {})
print(render_status(document), end="")
assert document.instances[0].phase == "degraded"
