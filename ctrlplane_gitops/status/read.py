"""Reading the status: one look, one probe of every replica that lives."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from ctrlplane_gitops.execute.pool import Pool
from ctrlplane_gitops.execute.probing import probe_once
from ctrlplane_gitops.providers.base import Provider
from ctrlplane_gitops.state.desired import DesiredState
from ctrlplane_gitops.state.observed import ObservedState, ReplicaPhase
from ctrlplane_gitops.state.recorded import RecordedState
from ctrlplane_gitops.status.certificate import Ends
from ctrlplane_gitops.status.live import Live
from ctrlplane_gitops.status.view import VerdictOf, build_status


def read_live(
    plane: str,
    commit: str,
    desired: DesiredState | None,
    recorded: RecordedState,
    observed: ObservedState,
    providers: Mapping[str, Provider],
    pool: Pool,
    now: datetime,
    ends: Ends | None = None,
) -> Live:
    """The status with health as it is now, and all that it was made from. Takes as long as the
    slowest probe."""
    verdicts = probe_living(desired, observed, providers, pool, now)
    document = build_status(plane, commit, desired, recorded, observed, verdicts, ends)
    return Live(now, document, observed, verdicts)


def probe_living(
    desired: DesiredState | None,
    observed: ObservedState,
    providers: Mapping[str, Provider],
    pool: Pool,
    now: datetime,
) -> VerdictOf:
    """Every replica that lives, once."""
    instances = desired.instances if desired else {}
    wanted = [
        (providers[item.provider], replica, instances[item.instance].health)
        for item in observed.replica_sets
        if item.instance in instances
        for replica in item.replicas
        if replica.phase is ReplicaPhase.RUNNING
    ]
    return probe_once(pool, wanted, now)
