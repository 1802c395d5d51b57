"""What is written down when the rollout of one instance has ended. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.recorded import RecordedInstance, RolloutStatus
from ctrlplane_gitops.state.template import Release, ReleaseState
from ctrlplane_gitops.value import struct


@struct
class Settled:
    """The instance's new record, the releases whose state changed, and those to forget."""

    instance: RecordedInstance
    releases: tuple[Release, ...] = ()
    forgotten: tuple[tuple[ResourceKey, int], ...] = ()


def settle_completed(
    known: RecordedInstance,
    target: Release,
    releases: Mapping[int, Release],
    status: RolloutStatus,
    history_limit: int,
) -> Settled:
    """The target runs: it is the active release, the one before it is superseded, and releases
    beyond the history limit are forgotten (never the pinned one). One that was overtaken on its
    way stays pending: it never was live, so it is nothing to roll back to."""
    changed = []
    if target.state is not ReleaseState.ACTIVE:
        target = replace(target, state=ReleaseState.ACTIVE, reason="")
        changed.append(target)
    changed.extend(
        replace(item, state=ReleaseState.SUPERSEDED)
        for item in releases.values()
        if item.number != target.number and item.state is ReleaseState.ACTIVE
    )
    kept = {target.number, *((known.pin,) if known.pin is not None else ())}
    forgotten = _find_forgotten(releases.values(), kept, history_limit)
    instance = replace(
        known, provider=target.template.provider, release=target.number, rollout=status
    )
    gone = {number for _, number in forgotten}
    return Settled(instance, tuple(item for item in changed if item.number not in gone), forgotten)


def settle_failed(
    known: RecordedInstance,
    target: Release,
    active: Release | None,
    status: RolloutStatus,
    *,
    is_transient: bool = False,
) -> Settled:
    """The target failed and is remembered as bad; not so the active release itself, which a repair
    could not bring back, nor one that could not be started because something did not answer or
    somebody did not let us (``is_transient``): those are tried again by the next pass."""
    provider = active.template.provider if active else known.provider
    instance = replace(known, provider=provider, rollout=status)
    if is_transient or (active is not None and active.number == target.number):
        return Settled(instance)
    failed = replace(target, state=ReleaseState.FAILED, reason=status.message)
    return Settled(instance, (failed,))


def _find_forgotten(
    releases: Iterable[Release], kept: set[int], limit: int
) -> tuple[tuple[ResourceKey, int], ...]:
    """All but the newest ``limit`` of those that are not kept anyway."""
    old = sorted(
        (item for item in releases if item.number not in kept), key=lambda item: -item.number
    )
    return tuple((item.instance, item.number) for item in old[limit:])
