"""Observed replicas with readiness: what a strategy is shown."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from ctrlplane_gitops.execute.probing import Identity, Probing, identity_of
from ctrlplane_gitops.execute.run import InstanceRun
from ctrlplane_gitops.providers.base import Provider
from ctrlplane_gitops.rollout.view import ReplicaSetView, ReplicaView
from ctrlplane_gitops.state.desired import HealthCheck
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.observed import ObservedReplica, ObservedReplicaSet, ReplicaPhase


@dataclass(slots=True)
class _Seen:
    """What was there at the first look of this pass.

    ``trusted``: replicas of other releases. They are taken to be ready while they live, for their
    checks may have been others: a check that is new in Git must not take the old release down
    before the new one stands. ``initial``: replicas of the target of a settled instance, and those
    that the router already sends requests to; once a probe passes they count as ready since they
    started, not since this pass looked."""

    trusted: frozenset[Identity]
    initial: frozenset[Identity]
    first_seen: dict[Identity, datetime] = field(default_factory=dict)
    followed: dict[Identity, tuple[str, ObservedReplica]] = field(default_factory=dict)


class Readiness:
    """Follows the replicas of every run with probes and turns looks into views."""

    def __init__(self, probing: Probing, providers: Mapping[str, Provider]) -> None:
        self._probing = probing
        self._providers = providers
        self._seen: dict[ResourceKey, _Seen] = {}

    def view(
        self,
        run: InstanceRun,
        sets: tuple[ObservedReplicaSet, ...],
        now: datetime,
        served: Collection[str] = (),
    ) -> tuple[ReplicaSetView, ...] | None:
        """The sets as the strategy sees them; None while a replica that has proven itself before
        has not been probed once: unverified is not unhealthy. ``served`` are the names of those
        that the router sends requests to."""
        checks = run.work.desired.health if run.work.desired else ()
        seen = self._seen.get(run.work.instance)
        if seen is None:
            seen = self._seen[run.work.instance] = _first_look(run, sets, served)
        self._follow(seen, sets, checks)
        is_unverified = any(
            self._probing.verdict_of(provider, replica) is None
            for identity, (provider, replica) in seen.followed.items()
            if identity in seen.initial
        )
        if is_unverified:
            return None
        return tuple(
            ReplicaSetView(
                item.release,
                item.revision,
                tuple(
                    self._view_replica(seen, item.provider, replica, bool(checks), now)
                    for replica in item.replicas
                ),
            )
            for item in sets
        )

    def forget(self, run: InstanceRun) -> None:
        """Stop probing the run's replicas."""
        seen = self._seen.pop(run.work.instance, None)
        if seen is not None:
            for provider, replica in seen.followed.values():
                self._probing.forget(provider, (replica,))

    def _follow(
        self, seen: _Seen, sets: tuple[ObservedReplicaSet, ...], checks: tuple[HealthCheck, ...]
    ) -> None:
        present = {
            identity: (provider, replica)
            for identity, provider, replica in _each_live(sets)
            if checks and identity not in seen.trusted and replica.verdict is None
        }
        for provider, replica in present.values():
            self._probing.follow(self._providers[provider], (replica,), checks)
        for identity in seen.followed.keys() - present.keys():
            provider, replica = seen.followed[identity]
            self._probing.forget(provider, (replica,))
        seen.followed = present

    def _view_replica(
        self,
        seen: _Seen,
        provider: str,
        replica: ObservedReplica,
        has_checks: bool,
        now: datetime,
    ) -> ReplicaView:
        identity = identity_of(provider, replica)
        began = replica.started_at or seen.first_seen.setdefault(identity, now)
        ready_since: datetime | None = None
        reason = replica.reason
        if replica.phase is ReplicaPhase.RUNNING and replica.verdict is not None:
            # Whoever probes them itself knows their own checks, and since when they pass.
            said = replica.verdict
            ready_since = said.since if said.is_ready else None
            reason = reason or said.message
        elif replica.phase is ReplicaPhase.RUNNING:
            verdict = self._probing.verdict_of(provider, replica)
            if identity in seen.trusted or not has_checks:
                ready_since = began
            elif verdict is not None and verdict.is_ready:
                ready_since = began if identity in seen.initial else verdict.since
            elif verdict is not None:
                reason = verdict.message
        return ReplicaView(
            name=replica.name,
            index=replica.index,
            is_alive=replica.phase is not ReplicaPhase.STOPPED,
            ready_since=ready_since,
            started_at=began,
            reason=reason,
        )


def _first_look(
    run: InstanceRun, sets: tuple[ObservedReplicaSet, ...], served: Collection[str]
) -> _Seen:
    target = run.work.release.number if run.work.release else 0
    trusted = [item for item in sets if item.release != target]
    own = [item for item in sets if item.release == target]
    return _Seen(
        frozenset(identity for identity, _, _ in _each_live(trusted)),
        frozenset(
            identity
            for identity, _, replica in _each_live(own)
            if run.was_settled or replica.name in served
        ),
    )


def _each_live(
    sets: list[ObservedReplicaSet] | tuple[ObservedReplicaSet, ...],
) -> Iterator[tuple[Identity, str, ObservedReplica]]:
    for item in sets:
        for replica in item.live:
            yield identity_of(item.provider, replica), item.provider, replica
