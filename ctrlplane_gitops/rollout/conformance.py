"""What every strategy must do, as one suite of claims. A strategy's tests subclass it::

    class TestRollingConformance(StrategyConformance):
        def make_strategy(self) -> Strategy: ...

``params`` may be replaced; the claims hold for any that the strategy's ``check`` lets pass.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from ctrlplane_gitops.rollout.simulator import (
    EPOCH,
    INSTANCE,
    Behaviour,
    Fault,
    Fleet,
    Simulation,
)
from ctrlplane_gitops.rollout.strategy import Strategy
from ctrlplane_gitops.rollout.view import RolloutView
from ctrlplane_gitops.state.desired import RolloutParams
from ctrlplane_gitops.state.recorded import RolloutPhase, RolloutStatus

SECOND = timedelta(seconds=1)
BROKEN = Behaviour(ready_after=None, reason="connection refused")
FLEETING = Behaviour(dies_after=SECOND / 2, ready_after=None, reason="exited 1")
REFUSED = Behaviour(scale_error="image shop:2 does not exist")


class StrategyConformance:
    """The claims. Release 1 is the old one, release 2 the new one."""

    params = RolloutParams()

    def make_strategy(self) -> Strategy:
        """The strategy under test."""
        raise AssertionError("a subclass says which strategy is tested")

    def make(
        self, behaviour: Behaviour | None = None, *, old: int = 3, replicas: int = 3
    ) -> Simulation:
        """``old`` replicas of release 1 run, release 2 is to run with ``replicas``."""
        fleet = Fleet(behaviours={2: behaviour or Behaviour()})
        fleet.add(1, old)
        active = 1 if old else None
        return Simulation(self.make_strategy(), fleet, 2, replicas, active, self.params)

    def make_steady(self, *, running: int = 3, replicas: int = 3) -> Simulation:
        """Release 1 runs since long and is to run with ``replicas``."""
        fleet = Fleet()
        fleet.add(1, running)
        status = RolloutStatus(target=1)
        return Simulation(self.make_strategy(), fleet, 1, replicas, 1, self.params, status)

    def assert_runs(self, course: Simulation, release: int, replicas: int = 3) -> None:
        """Exactly so many available replicas of the release and nothing else."""
        found = [(item.release, len(item.replicas)) for item in course.fleet.sets()]
        assert found == ([(release, replicas)] if replicas else [])
        assert course.fleet.count_available(timedelta(), release) == replicas

    def test_its_usual_parameters_pass_the_check(self) -> None:
        assert self.make_strategy().check(self.params) == ()

    def test_a_first_release_is_created_and_completes(self) -> None:
        course = self.make(old=0)
        assert course.run() == "idle"
        self.assert_runs(course, 2)
        status = course.status
        assert (status.target, status.previous, status.message) == (2, None, "")

    def test_a_release_is_replaced_by_the_next(self) -> None:
        course = self.make()
        assert course.run() == "idle"
        self.assert_runs(course, 2)
        assert (course.status.target, course.status.previous) == (2, 1)

    def test_a_new_release_is_not_done_before_it_was_ready_for_min_ready(self) -> None:
        course = self.make(old=0)
        course.run()
        assert course.fleet.now - EPOCH >= 2 * SECOND + self.params.min_ready

    def test_nothing_is_done_where_nothing_is_to_do(self) -> None:
        course = self.make_steady()
        decision = course.take_tick()
        assert decision.is_done and not decision.steps
        assert decision.status == RolloutStatus(target=1)

    def test_a_long_running_release_need_not_prove_itself_again(self) -> None:
        """After the controller was away every replica is ready only since now."""
        course = self.make_steady(running=0)
        course.fleet.add(1, 3, EPOCH - 2 * SECOND)
        assert course.take_tick().is_done

    def test_a_dead_replica_is_replaced_in_its_place(self) -> None:
        course = self.make_steady()
        course.fleet.faults = (Fault(-SECOND, 1, 1),)
        assert course.run() == "idle"
        self.assert_runs(course, 1)
        starts = [item.started_at for item in course.fleet.sets()[0].replicas]
        assert starts[1] == EPOCH and starts[0] == starts[2] != EPOCH

    def test_replicas_are_added_and_removed(self) -> None:
        for running, replicas in ((3, 5), (5, 2), (0, 3)):
            course = self.make_steady(running=running, replicas=replicas)
            assert course.run() == "idle"
            self.assert_runs(course, 1, replicas)

    def test_surplus_that_is_not_ready_goes_first(self) -> None:
        course = self.make_steady(running=3, replicas=2)
        course.fleet.faults = (Fault(-SECOND, 1, 0, lasts=3600 * SECOND),)
        assert course.run() == "idle"
        assert [item.index for item in course.fleet.sets()[0].replicas] == [1, 2]

    def test_nothing_runs_where_nothing_is_to_run(self) -> None:
        course = self.make(replicas=0)
        assert course.run() == "idle"
        self.assert_runs(course, 2, 0)

    def test_strays_of_older_rollouts_are_removed(self) -> None:
        course = self.make_steady()
        course.fleet.add(4, 2)
        course.fleet.add(7, 1)
        course.fleet.faults = (Fault(-SECOND, 7, 0),)
        assert course.run() == "idle"
        self.assert_runs(course, 1)

    def test_a_release_that_never_gets_healthy_is_rolled_back_with_its_reason(self) -> None:
        course = self.make(BROKEN)
        assert course.run() == "rolledBack"
        self.assert_runs(course, 1)
        assert course.status.message == (
            "rolled back v2 -> v1: v2.0 was not healthy within 5m: connection refused"
        )

    def test_a_release_that_dies_again_and_again_is_rolled_back(self) -> None:
        course = self.make(FLEETING)
        assert course.run() == "rolledBack"
        self.assert_runs(course, 1)
        assert course.status.message.endswith("was not healthy within 5m: exited 1")

    def test_what_dies_at_once_is_not_started_without_a_pause(self) -> None:
        course = self.make(FLEETING)
        course.run()
        starts = [tick for tick in course.ticks if any(s.release == 2 for s in tick.decision.steps)]
        assert len(starts) < 2 * self.params.healthy_deadline / SECOND

    def test_a_terminal_error_fails_at_once(self) -> None:
        course = self.make(REFUSED)
        assert course.run() == "rolledBack"
        self.assert_runs(course, 1)
        assert course.status.message == "rolled back v2 -> v1: image shop:2 does not exist"
        assert course.fleet.now - EPOCH < self.params.healthy_deadline

    def test_a_failed_first_release_is_left_for_inspection(self) -> None:
        course = self.make(BROKEN, old=0)
        assert course.run() == "failed"
        assert course.fleet.count(2) == 3
        assert course.status.message == (
            "v2 failed: v2.0 was not healthy within 5m: connection refused; "
            "its replicas are left for inspection"
        )

    def test_nothing_is_rolled_back_where_that_is_off(self) -> None:
        course = self.make(BROKEN)
        course.params = replace(self.params, is_auto_rollback=False)
        assert course.run() == "failed"
        assert course.fleet.count(2) > 0
        assert "automatic rollback is off" in course.status.message

    def test_a_failed_repair_is_not_rolled_back_to_itself(self) -> None:
        course = self.make_steady(running=2)
        course.fleet.behaviours = {1: BROKEN}
        assert course.run() == "failed"
        assert course.status.message.startswith("repair of v1 failed: v1.0 was not healthy")

    def test_a_failed_release_may_be_tried_again(self) -> None:
        course = self.make(BROKEN)
        course.run()
        course.fleet.behaviours = {}
        assert course.run() == "idle"
        self.assert_runs(course, 2)

    def test_the_next_release_replaces_one_that_is_being_rolled_back(self) -> None:
        course = self.make(BROKEN)
        while course.status.phase is not RolloutPhase.ROLLING_BACK:
            course.take_tick()
        course.target = 3
        assert course.run() == "idle"
        self.assert_runs(course, 3)

    def test_a_rollback_turns_before_it_touches_anything(self) -> None:
        """So a crash before the turn is recorded finds the world it was decided from."""
        course = self.make(BROKEN)
        course.run()
        turn = next(
            tick.decision
            for tick in course.ticks
            if tick.decision.status.phase is RolloutPhase.ROLLING_BACK
        )
        assert turn.steps == ()

    def test_the_old_release_is_started_again_if_it_died_meanwhile(self) -> None:
        course = self.make(BROKEN)
        while course.status.phase is not RolloutPhase.ROLLING_BACK:
            course.take_tick()
        at = course.fleet.now - EPOCH
        course.fleet.faults = tuple(Fault(at, 1, index) for index in range(3))
        assert course.run() == "rolledBack"
        self.assert_runs(course, 1)

    def test_a_rollback_that_fails_says_both_reasons(self) -> None:
        course = self.make(BROKEN)
        course.fleet.behaviours = {1: BROKEN, 2: BROKEN}
        assert course.run() == "failed"
        assert course.status.message.startswith("rollback v2 -> v1 failed: ")
        assert "it was rolled back because v2." in course.status.message

    def test_what_is_done_and_visible_is_not_done_again(self) -> None:
        course = self.make()
        while not (decision := course.take_tick()).is_done:
            again = course.strategy.next_step(course.view())
            assert not set(decision.steps) & set(again.steps)

    def test_every_status_has_a_decision(self) -> None:
        strategy, fleet = self.make_strategy(), Fleet(now=EPOCH)
        fleet.add(1, 2)
        fleet.add(2, 1)
        for phase in RolloutPhase:
            for recorded in (None, 1, 2, 9):
                for active in (None, 1, 2, 9):
                    status = RolloutStatus(phase, recorded)
                    view = RolloutView(
                        INSTANCE, 2, 3, fleet.sets(), self.params, status, EPOCH, active
                    )
                    decision = strategy.next_step(view)
                    assert decision == strategy.next_step(view)
                    is_moving = bool(decision.steps) or decision.status != status
                    assert decision.is_done or decision.wait > timedelta() or is_moving
