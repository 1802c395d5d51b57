"""The beginning: what is written down before any work, and a run per work."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from ctrlplane_gitops.errors import CtrlplaneError
from ctrlplane_gitops.events.event import EventType
from ctrlplane_gitops.execute.cleanup import removed_tenants
from ctrlplane_gitops.execute.journal import Journal
from ctrlplane_gitops.execute.material import Materials
from ctrlplane_gitops.execute.run import InstanceRun
from ctrlplane_gitops.plan.change import ChangeAction, Plan, Work
from ctrlplane_gitops.state.key import Kind
from ctrlplane_gitops.state.recorded import RecordedInstance, RecordedState, RolloutPhase
from ctrlplane_gitops.state.template import Release, ReleaseState
from ctrlplane_gitops.units import parse_duration

_PATIENCE = timedelta(seconds=30)


def record_plan(plan: Plan, plane_id: str | None, journal: Journal, materials: Materials) -> None:
    """Put down what needs no work: rows of kinds that are only recorded, adopted instances, and
    the identity of the store (``plane_id``) when it has none yet."""
    records = plan.records
    if plane_id is not None:
        journal.put_plane(plane_id)
    journal.put(
        resources=records.resources,
        instances=records.instances,
        releases=records.releases,
    )
    for release in records.releases:
        _keep_contents(release, journal, materials)
    deferred = set(removed_tenants(plan))
    journal.remove(
        resources=[key for key in records.removed_resources if key not in deferred],
        instances=records.removed_instances,
        releases=records.removed_releases,
    )
    for change in plan.changes:
        is_instance = change.key.kind is Kind.INSTANCE
        if is_instance and change.action is ChangeAction.ADOPT and change.blocked is None:
            journal.tell(EventType.INSTANCE_ADOPTED, change.key.address, change.reason)


def begin_run(
    work: Work,
    recorded: RecordedState,
    journal: Journal,
    materials: Materials,
    *,
    is_detached: bool,
) -> InstanceRun:
    """A run for the work; a new release is written down with the contents of its files, and a
    rollout as begun, before anything is done about it."""
    releases = {item.number: item for item in recorded.releases.get(work.instance, ())}
    known = recorded.instances.get(work.instance)
    known = replace(
        known or RecordedInstance(work.instance, work.provider, work.active),
        provider=work.provider,
    )
    release = work.release
    if release is not None:
        is_changed = releases.get(release.number) != release
        releases[release.number] = release
        if is_changed:
            journal.put(releases=(release,))
            _keep_contents(release, journal, materials)
    run = InstanceRun(
        work,
        known,
        releases,
        _recorded_duration(work, recorded, "stopTimeout"),
        drain_timeout=_recorded_duration(work, recorded, "drainTimeout"),
        is_detached=is_detached,
    )
    if release is not None:
        if run.was_settled and work.instance in recorded.orders:
            # What was asked of an earlier rollout says nothing about this one.
            journal.remove(orders=(work.instance,))
        journal.put(instances=(run.record(),))
        _tell_start(work, release, run, journal)
    return run


def _tell_start(work: Work, release: Release, run: InstanceRun, journal: Journal) -> None:
    is_resumed = run.status.phase in (RolloutPhase.PROGRESSING, RolloutPhase.ROLLING_BACK)
    if release.number == work.active or is_resumed:
        # A rollout that waits for somebody is taken up by every pass.
        return
    before = f"from v{work.active}" if work.active is not None else "first release"
    text = f"rolling out {release.label} ({before})"
    data = {"release": release.label, "revision": release.revision, "reason": work.reason}
    journal.tell(EventType.ROLLOUT_STARTED, work.instance.address, text, data)


def _keep_contents(release: Release, journal: Journal, materials: Materials) -> None:
    """Keep the contents of the files, for a rollback to what Git no longer describes."""
    if release.template.files and release.state is not ReleaseState.FAILED:
        try:
            journal.put(blobs=materials.contents_of(release))
        except CtrlplaneError:
            return  # an adopted release whose contents nobody has: it runs, that is enough


def _recorded_duration(work: Work, recorded: RecordedState, name: str) -> timedelta:
    """How long the replicas of a removed instance may take to stop, or to answer what they were
    asked, by what was recorded."""
    for key in work.removed:
        resource = recorded.resources.get(key) if key.kind is Kind.DEPLOYMENT else None
        if resource is None:
            continue
        try:
            return parse_duration(resource.attributes["strategy"][name])
        except (KeyError, TypeError, ValueError):
            continue
    return _PATIENCE
