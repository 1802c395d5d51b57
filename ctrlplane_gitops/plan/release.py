"""Which release an instance should run: Git's, the one a user pinned, or the active one when
Git's is known to be bad."""

from __future__ import annotations

from datetime import datetime

from ctrlplane_gitops.plan.change import Blocked
from ctrlplane_gitops.plan.classify import Look
from ctrlplane_gitops.state.desired import DesiredInstance
from ctrlplane_gitops.state.observed import ObservedReplicaSet
from ctrlplane_gitops.state.recorded import RecordedInstance, RolloutPhase
from ctrlplane_gitops.state.template import Release, ReleaseState
from ctrlplane_gitops.value import replace, struct


@struct
class Target:
    """``release`` is what to run (None: nothing can be run), ``active`` what to return to;
    ``was`` is the active release where it is recorded. ``note`` says what is unusual."""

    release: Release | None
    is_new: bool
    active: int | None
    was: Release | None
    note: str = ""
    blocked: Blocked | None = None


def choose_release(
    look: Look, instance: DesiredInstance, sets: tuple[ObservedReplicaSet, ...], now: datetime
) -> Target:
    """The target of an instance that has a template."""
    known = look.recorded.instances.get(instance.key)
    releases = look.recorded.releases.get(instance.key, ())
    active = find_active(instance, known, releases, sets)
    was = next((item for item in releases if item.number == active), None)
    note = ""
    if known is not None and known.pin is not None:
        pinned = next((item for item in releases if item.number == known.pin), None)
        if pinned is not None:
            target = _run(look, pinned, active, was, known)
            return replace(target, note=f"pinned to {pinned.label} by a rollback")
        note = f"pinned to v{known.pin}, which is not kept any more, so Git is followed"
    same = _find_same(instance, releases, sets, active)
    if same is not None:
        return replace(_run(look, same, active, was, known), note=note)
    adopted = _find_observed(instance, releases, sets)
    number = adopted or 1 + max(
        (
            *(item.number for item in releases),
            *(item.release for item in sets),
            (known.release if known else None) or 0,
            (known.rollout.target if known else None) or 0,
        )
    )
    assert instance.template is not None and instance.revision is not None
    release = Release(
        instance.key, number, instance.revision, instance.template, look.header.commit, now
    )
    return Target(release, True, active, was, note)


def find_active(
    instance: DesiredInstance,
    known: RecordedInstance | None,
    releases: tuple[Release, ...],
    sets: tuple[ObservedReplicaSet, ...],
) -> int | None:
    """The recorded active release; for an instance that is not recorded, the one seen running:
    Git's revision first, else the newest alive."""
    if known is not None:
        return known.release
    alive = [item for item in sets if item.live]
    wanted = [item for item in alive if item.revision == instance.revision]
    return max((item.release for item in wanted or alive), default=None)


def _run(
    look: Look,
    release: Release,
    active: int | None,
    was: Release | None,
    known: RecordedInstance | None,
) -> Target:
    """Run a recorded release, unless it is known to be bad."""
    is_bad = release.state is ReleaseState.FAILED and release.number != active
    status = known.rollout if known else None
    is_leaving = (
        status is not None
        and status.phase is RolloutPhase.ROLLING_BACK
        and status.target == release.number
    )
    if not is_bad or is_leaving:
        # A rollback under way is finished with the release it is leaving as its target.
        return Target(release, False, active, was)
    if look.policy.is_retry_failed:
        return Target(replace(release, state=ReleaseState.PENDING, reason=""), False, active, was)
    cause = release.reason or "it did not become healthy"
    blocked = Blocked(
        "bad-release",
        f"{release.label} was tried and failed: {cause}",
        "change the deployment in Git, or try it again with --retry-failed",
    )
    return Target(was, False, active, was, blocked=blocked)


def _find_same(
    instance: DesiredInstance,
    releases: tuple[Release, ...],
    sets: tuple[ObservedReplicaSet, ...],
    active: int | None,
) -> Release | None:
    """The recorded release of Git's revision to reuse: the active one, else the newest.

    Not reused: one whose number is taken by replicas of another revision (an old store came
    back), and a failed one that is older than the active one: run under a new number, it would
    be remembered as bad again instead of being retried for ever."""
    # A set without a revision is one that nobody lived to write down: it says nothing.
    foreign = {item.release: item.revision for item in sets if item.revision}
    found = [
        item
        for item in releases
        if item.revision == instance.revision
        and foreign.get(item.number, item.revision) == item.revision
    ]
    best = next((item for item in found if item.number == active), found[-1] if found else None)
    if best is None or best.number == active or best.state is not ReleaseState.FAILED:
        return best
    return None if best.number < (active or 0) else best


def _find_observed(
    instance: DesiredInstance,
    releases: tuple[Release, ...],
    sets: tuple[ObservedReplicaSet, ...],
) -> int | None:
    """The number of a set of Git's revision whose release is not recorded."""
    taken = {item.number for item in releases}
    return max(
        (
            item.release
            for item in sets
            if item.revision == instance.revision and item.release not in taken
        ),
        default=None,
    )
