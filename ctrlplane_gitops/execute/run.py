"""The work on one instance, from its first action to what is written down about it.

A run decides when it is asked and never waits: ``next_step`` says what to do now, or until when
nothing is to be done. All its knowledge comes from looks at the provider, so a run that starts in
the middle of a rollout somebody else began goes on where the world stands.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from ctrlplane_gitops.errors import CtrlplaneError, UnreachableError
from ctrlplane_gitops.execute.count import rollout_replicas
from ctrlplane_gitops.execute.retry import next_delay
from ctrlplane_gitops.execute.settle import Settled, settle_completed, settle_failed
from ctrlplane_gitops.execute.step import Act, End, Pause, Step, Surroundings, WorkState
from ctrlplane_gitops.plan.change import Work
from ctrlplane_gitops.plan.drift import is_off, wanted_replicas
from ctrlplane_gitops.rollout.registry import strategy_for
from ctrlplane_gitops.rollout.view import ReplicaSetView, RolloutView, ScaleStep, StepDecision
from ctrlplane_gitops.state.action import (
    Action,
    Outcome,
    PrepareRelease,
    RemoveInstance,
    ScaleOwner,
    ScaleReplicaSet,
    UpdateResources,
)
from ctrlplane_gitops.state.observed import Gap, ObservedReplicaSet
from ctrlplane_gitops.state.recorded import RecordedInstance, RolloutPhase, RolloutStatus
from ctrlplane_gitops.state.template import Release, ReleaseState, ReleaseTemplate

_LONGEST_WAIT = timedelta(seconds=1)
_UNDER_WAY = (RolloutPhase.PROGRESSING, RolloutPhase.ROLLING_BACK)


_ALONE = Surroundings()


class InstanceRun:
    """``known`` is the instance's record as it stands; ``releases`` are the recorded ones by
    number, the work's own included. ``stop_timeout`` and ``drain_timeout`` are for removals."""

    def __init__(
        self,
        work: Work,
        known: RecordedInstance,
        releases: dict[int, Release],
        stop_timeout: timedelta,
        *,
        drain_timeout: timedelta = timedelta(),
        is_detached: bool = False,
    ) -> None:
        self.work = work
        self.known = known
        self.releases = releases
        self.status = self._initial_status()
        self.was_settled = self.status.phase not in _UNDER_WAY
        self.drain_timeout = drain_timeout
        self._stop_timeout = stop_timeout
        self._is_detached = is_detached
        self._queue: list[Action] = self._first_actions()
        self._swept = self._mended = False
        self._is_retried = known.rollout.phase is RolloutPhase.FAILED
        self._attempt = 0
        self._not_before: datetime | None = None
        self._rest_until: datetime | None = None
        self._scale_error = ""
        self._is_transient = False
        self._error: CtrlplaneError | None = None

    def _initial_status(self) -> RolloutStatus:
        """A rollout under way goes on; what ended some way or other is begun anew."""
        status, release = self.known.rollout, self.work.release
        is_same = release is not None and status.target == release.number
        if status.phase not in _UNDER_WAY:
            return RolloutStatus()
        # What another rollout has taken away meanwhile is to be there again.
        return status if is_same else RolloutStatus(replicas=status.replicas)

    @property
    def providers(self) -> tuple[str, ...]:
        """Everywhere replicas of the instance are or may be."""
        found = {self.work.provider, self.known.provider, *self.work.sweep}
        active = self.releases.get(self.work.active or 0)
        if active is not None:
            found.add(active.template.provider)
        return tuple(sorted(found))

    @property
    def target(self) -> Release | None:
        number = self.work.release.number if self.work.release else 0
        return self.releases.get(number)

    def take_over(self, work: Work, known: RecordedInstance | None) -> None:
        """A later plan says the same, with what is to be written down about it now."""
        self.work = work
        if known is not None:
            self.known = replace(self.known, pin=known.pin)

    def stand_at(self, before: InstanceRun) -> None:
        """Go on from where a run for the same instance was, of which not all is in the record that
        this one was made from."""
        self.known = replace(before.record(), pin=self.known.pin, provider=self.known.provider)
        for number, release in before.releases.items():
            known = self.releases.setdefault(number, release)
            if release.resolved and release.revision == known.revision:
                self.releases[number] = release
        self.status = self._initial_status()
        self.was_settled = self.status.phase not in _UNDER_WAY

    def record(self) -> RecordedInstance:
        """The instance's record as it stands now."""
        return replace(self.known, rollout=self.status)

    @property
    def needs_look(self) -> bool:
        return not self._queue and self._error is None

    def _first_actions(self) -> list[Action]:
        work, release = self.work, self.work.release
        if release is None or work.desired is None:
            return self._sweep_actions()
        actions: list[Action] = []
        is_rollout = release.number != work.active
        if release.template.image is not None and not release.resolved:
            actions.append(PrepareRelease(work.instance, work.provider, release))
        if work.update_resources and not is_rollout:
            actions.append(UpdateResources(work.instance, work.provider, work.desired.resources))
        return actions

    def _sweep_actions(self) -> list[Action]:
        work = self.work
        return [
            RemoveInstance(work.instance, name, self._stop_timeout, work.is_volumes)
            for name in work.sweep
        ]

    def next_step(
        self,
        sets: tuple[ObservedReplicaSet, ...],
        views: tuple[ReplicaSetView, ...],
        now: datetime,
        around: Surroundings = _ALONE,
    ) -> Step:
        """``sets`` are the latest look (ignored while ``needs_look`` is False) and ``views`` the
        same with readiness."""
        if self._error is not None:
            return End(WorkState.FAILED, self._error.explained, self.settle_error(), self._error)
        if self._not_before is not None and now < self._not_before:
            return Pause(self._not_before - now)
        if self._queue:
            return Act((self._queue[0],))
        if self.work.release is None or self.work.desired is None:
            return End(WorkState.DONE)
        if self._rest_until is not None and now < self._rest_until:
            return Pause(self._rest_until - now)
        return self._tell_again(sets, now) or self._roll(sets, views, now, around)

    def _tell_again(self, sets: tuple[ObservedReplicaSet, ...], now: datetime) -> Act | None:
        """What was left of a release that failed is told what Git says by now, at the number of
        replicas there is; once."""
        number = self.target.number if self.target else 0
        left = next((item for item in sets if item.release == number and item.replicas), None)
        is_told, self._is_retried = not self._is_retried, False
        if is_told or left is None or number == self.work.active:
            return None
        return Act((self._dress(ScaleStep(number, len(left.replicas)), sets, now),))

    def _roll(
        self,
        sets: tuple[ObservedReplicaSet, ...],
        views: tuple[ReplicaSetView, ...],
        now: datetime,
        around: Surroundings,
    ) -> Step:
        work, target = self.work, self.target
        assert work.desired is not None and target is not None
        wanted = self._wanted(sets)
        if not wanted and self._is_asleep(sets):
            return self._mend(sets, now) or self._end()
        if self._mended and self.status.phase is RolloutPhase.ROLLED_BACK:
            # Asked once more the strategy would try the release again.
            return self._end()
        view = RolloutView(
            instance=work.instance,
            target=target.number,
            replicas=wanted,
            sets=views,
            params=work.desired.params,
            status=self.status,
            now=now,
            active=work.active,
            scale_error=self._scale_error,
            traffic=around.traffic,
            wishes=around.wishes,
            is_restoring=target.state is ReleaseState.SUPERSEDED,
            analysis=around.analysis,
        )
        decision = strategy_for(work.desired.params.type).next_step(view)
        status = decision.status
        if work.desired.is_autoscaled:
            kept = wanted if status.phase in _UNDER_WAY else 0
            status = replace(status, replicas=kept)
        changed = status if status != self.status else None
        self.status = status
        if decision.steps or decision.route is not None:
            self._rest_until = now + decision.wait
            actions = tuple(self._dress(step, sets, now) for step in decision.steps)
            return Act(actions, changed, decision.route)
        if decision.is_done:
            return self._mend(sets, now) or self._end()
        return self._await(decision, around, changed)

    def _await(
        self, decision: StepDecision, around: Surroundings, changed: RolloutStatus | None
    ) -> Step:
        """There is nothing to do now, and it has not ended."""
        target = self.target
        assert target is not None
        if decision.waits_for:
            text = f"{target.label} waits for {decision.waits_for}"
            if around.traffic is not None:
                text += around.traffic.describe_share(target.number)
            return End(WorkState.WAITING, f"{text}: {around.note}" if around.note else text)
        if self._is_detached:
            return End(WorkState.STARTED, "the rollout is under way")
        return Pause(min(decision.wait, _LONGEST_WAIT), changed)

    def _dress(
        self, step: ScaleStep, sets: tuple[ObservedReplicaSet, ...], now: datetime
    ) -> ScaleReplicaSet:
        """A step of the strategy as an action on the provider that has the set."""
        desired = self.work.desired
        assert desired is not None
        release = self.releases.get(step.release)
        if release is None:
            # A stray set that nobody wrote down: enough is known of it to remove it.
            seen = next(item for item in sets if item.release == step.release)
            template = ReleaseTemplate(seen.provider)
            release = Release(self.work.instance, seen.release, seen.revision, template, "", now)
        return ScaleReplicaSet(
            instance=self.work.instance,
            provider=release.template.provider,
            release=release,
            replicas=step.replicas,
            resources=desired.resources,
            stop_timeout=desired.params.stop_timeout,
            retire=step.retire,
            health=desired.health,
            max_unavailable=desired.params.max_unavailable.of(self._wanted(sets), round_up=False),
            owner=self._owner_of(step.release),
            allowance=desired.allowance,
        )

    def _owner_of(self, release: int) -> ScaleOwner:
        work, target = self.work, self.target
        if work.desired is None or not work.desired.is_autoscaled:
            return ScaleOwner.SPECS
        is_settled = target is not None and release == target.number == work.active
        return ScaleOwner.AUTOSCALER if is_settled or self._mended else ScaleOwner.ROLLOUT

    def _mend(self, sets: tuple[ObservedReplicaSet, ...], now: datetime) -> Act | None:
        """Put back what somebody has changed of the set that is to stay, once."""
        work, number = self.work, self._find_staying()
        assert work.desired is not None
        if self._mended or number is None or not work.desired.replicas:
            return None
        self._mended = True
        own = [item for item in sets if item.release == number]
        if not any(is_off(work.desired, item) for item in own):
            return None
        is_back = self.status.phase is RolloutPhase.ROLLED_BACK
        wanted = wanted_replicas(work.desired, own) if is_back else self._wanted(sets)
        return Act((self._dress(ScaleStep(number, wanted), sets, now),))

    def _find_staying(self) -> int | None:
        """The release whose set is to stay. After a rollback that is the one before, which an
        autoscaler has to be led back to; all else about it is the next pass's affair."""
        desired, target = self.work.desired, self.target
        assert desired is not None and target is not None
        if self.status.phase is RolloutPhase.IDLE:
            return target.number
        is_back = self.status.phase is RolloutPhase.ROLLED_BACK
        return self.work.active if is_back and desired.is_autoscaled else None

    def _wanted(self, sets: tuple[ObservedReplicaSet, ...]) -> int:
        """How many replicas there should be: Git's number, or what somebody else decides."""
        work, target = self.work, self.target
        assert work.desired is not None and target is not None
        if work.desired.is_autoscaled and target.number != work.active:
            return rollout_replicas(
                work.desired, target.number, work.active, self.status.replicas, sets
            )
        own = [item for item in sets if item.release == target.number]
        return wanted_replicas(work.desired, own)

    def _is_asleep(self, sets: tuple[ObservedReplicaSet, ...]) -> bool:
        """Nothing runs because an autoscaler has decided so."""
        desired = self.work.desired
        return bool(desired and desired.replicas) and any(item.scaled_by for item in sets)

    def _end(self) -> Step:
        work, target = self.work, self.target
        assert work.desired is not None and target is not None
        status = self.status
        if status.phase is RolloutPhase.IDLE:
            if work.sweep and not self._swept:
                self._swept = True
                self._queue = self._sweep_actions()
                return Act((self._queue[0],))
            limit = work.desired.params.revision_history_limit
            settled = settle_completed(self.known, target, self.releases, status, limit)
            return End(WorkState.DONE, "", settled)
        active = self.releases.get(work.active or 0)
        settled = settle_failed(self.known, target, active, status, is_transient=self._is_transient)
        if status.phase is RolloutPhase.ROLLED_BACK:
            return End(WorkState.ROLLED_BACK, status.message, settled)
        return End(WorkState.FAILED, status.message, settled)

    def settle_error(self) -> Settled | None:
        """An action failed for good: the rollout stays where it is, to be gone on with."""
        return Settled(self.record()) if self.work.release is not None else None

    def describe_wait(self, views: tuple[ReplicaSetView, ...]) -> str:
        """What the rollout is waiting for, in a few words."""
        target = self.target
        found = next((item for item in views if target and item.release == target.number), None)
        if target is None or found is None or self.work.desired is None:
            return "waiting"
        ready = sum(1 for item in found.replicas if item.is_ready)
        reasons = sorted({item.reason for item in found.replicas if item.reason})
        wanted = self.status.replicas or self.work.desired.replicas
        text = f"{target.label} has {ready}/{wanted} ready"
        return f"{text}: {'; '.join(reasons)}" if reasons else text

    def end_of_gap(self, gap: Gap) -> End:
        """The provider has been silent for too long: the next pass goes on."""
        error = UnreachableError(f"provider {gap.provider} did not answer: {gap.reason}")
        return End(WorkState.FAILED, error.message, self.settle_error(), error)

    def take(self, outcome: Outcome, now: datetime) -> Release | None:
        """Take in what came of an action. Returns the release when it changed (it was resolved)."""
        action, error = outcome.action, outcome.error
        if error is None:
            self._attempt, self._not_before = 0, None
            if self._queue and self._queue[0] == action:
                self._queue.pop(0)
            if isinstance(action, PrepareRelease) and outcome.resolved:
                return self._resolve(action.release, outcome)
            return None
        self._attempt += 1
        delay = next_delay(self._attempt, error.retry_after_s) if error.is_retryable else None
        if delay is not None:
            self._not_before, self._mended = now + delay, False
            return None
        self._attempt, self._not_before = 0, None
        self._give_up(action, error)
        return None

    def _resolve(self, release: Release, outcome: Outcome) -> Release:
        resolved = replace(self.releases[release.number], resolved=dict(outcome.resolved))
        self.releases[release.number] = resolved
        return resolved

    def _give_up(self, action: Action, error: CtrlplaneError) -> None:
        """What cannot be started fails the rollout, and the strategy says what follows from that;
        anything else, and what cannot be put back, ends the work."""
        target = self.work.release
        is_start = isinstance(action, PrepareRelease) or (
            isinstance(action, ScaleReplicaSet)
            and target is not None
            and action.release.number == target.number
            and action.replicas > 0
            and self.status.phase is not RolloutPhase.ROLLING_BACK
            and not self._mended
        )
        if is_start and not self._scale_error:
            self._scale_error = error.explained
            self._is_transient = error.is_retryable or error.is_refusal
            self._queue.clear()
        else:
            self._error = error
