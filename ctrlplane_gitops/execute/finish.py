"""The end of the work on one instance, written down."""

from __future__ import annotations

from ctrlplane_gitops.events.event import EventType
from ctrlplane_gitops.execute.journal import Journal
from ctrlplane_gitops.execute.run import InstanceRun
from ctrlplane_gitops.execute.step import End, WorkState
from ctrlplane_gitops.state.key import Kind

_UNDER_WAY = (WorkState.STARTED, WorkState.WAITING)


def write_down(run: InstanceRun, end: End, journal: Journal) -> None:
    """What the run settled, and, once it succeeded, the rows behind its work."""
    work = run.work
    if end.settled is not None:
        journal.put(instances=(end.settled.instance,), releases=end.settled.releases)
        journal.remove(releases=end.settled.forgotten)
    elif end.state in _UNDER_WAY:
        journal.put(instances=(run.record(),))
    if end.state not in _UNDER_WAY and end.state is not WorkState.CANCELLED:
        journal.remove(orders=(work.instance,))
    if end.state is WorkState.DONE or end.state in _UNDER_WAY:
        journal.put(resources=work.records)
        journal.remove(resources=work.removed)
    elif end.state is WorkState.ROLLED_BACK:
        # Replicas, limits and checks are as Git says; only the release is not.
        journal.put(resources=[item for item in work.records if item.key.kind is Kind.INSTANCE])
    if end.state is WorkState.DONE and work.release is None:
        journal.remove(
            instances=(work.instance,),
            releases=[(work.instance, number) for number in run.releases],
        )
    _tell(run, end, journal)


def _tell(run: InstanceRun, end: End, journal: Journal) -> None:
    work, address = run.work, run.work.instance.address
    is_rollout = work.release is not None and work.release.number != work.active
    label = work.release.label if work.release else ""
    if end.state is WorkState.ROLLED_BACK:
        journal.tell(EventType.ROLLOUT_ROLLED_BACK, address, end.message, {"release": label})
    elif end.state is WorkState.FAILED:
        journal.tell(EventType.ROLLOUT_FAILED, address, end.message, {"release": label})
    elif end.state is WorkState.DONE and is_rollout:
        journal.tell(EventType.ROLLOUT_COMPLETED, address, f"{label} is live", {"release": label})
    elif end.state is WorkState.DONE and work.release is not None:
        journal.tell(EventType.INSTANCE_REPAIRED, address, work.reason, {"release": label})
