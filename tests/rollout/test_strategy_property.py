"""What holds for every strategy in every world, tick by tick."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ctrlplane_gitops.rollout.budget import budget_of
from ctrlplane_gitops.rollout.preview import preview_rollout
from ctrlplane_gitops.rollout.simulator import EPOCH, Simulation
from ctrlplane_gitops.rollout.view import RolloutView, ScaleStep
from ctrlplane_gitops.state.desired import StrategyType
from ctrlplane_gitops.state.recorded import RolloutPhase
from tests.rollout.worlds import World, make_plain_worlds, make_worlds

slow = settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)


def watch(course: Simulation) -> list[tuple[int, int]]:
    """(live, available) after each performed step of a course to come, one before it."""
    seen = [_count(course)]
    course.on_step = lambda view, step: seen.append(_count(course))
    return seen


def _count(course: Simulation) -> tuple[int, int]:
    return course.fleet.count(), course.fleet.count_available(course.params.min_ready)


@slow
@given(make_worlds())
def test_the_same_view_gives_the_same_decision_and_every_view_gives_one(world: World) -> None:
    course = world.build()
    for _ in range(60):
        view = course.view()
        decision = course.take_tick()
        assert decision == course.strategy.next_step(view)
        if decision.is_done:
            break
        is_moving = bool(decision.steps) or decision.route is not None
        assert is_moving or decision.wait > timedelta() or decision.status != view.status


@slow
@given(make_worlds())
def test_every_course_ends_in_bounded_time(world: World) -> None:
    course = world.build()
    course.run()
    params = world.params
    rounds = 2 * (world.replicas + 2)
    most = rounds * (params.progress_deadline + params.min_ready + timedelta(seconds=8))
    pauses = sum((step.pause or timedelta() for step in params.canary_steps), timedelta())
    if world.analyst is not None:
        pauses += world.analyst.pending
    assert course.fleet.now - EPOCH <= most + pauses + params.scale_down_delay + params.bake_time


@slow
@given(make_worlds())
def test_no_step_makes_more_replicas_than_the_surge_allows(world: World) -> None:
    course = world.build()
    most = {
        StrategyType.RECREATE: world.replicas,
        StrategyType.ROLLING: budget_of(world.params, world.replicas).most,
        StrategyType.BLUE_GREEN: 2 * world.replicas,
        StrategyType.CANARY: 2 * world.replicas,
    }[world.params.type]

    def check(view: RolloutView, step: ScaleStep) -> None:
        alive = [sum(item.is_alive for item in found.replicas) for found in view.sets]
        # Where there are to be fewer than there were, they go while others come.
        surplus = sum(max(0, count - world.replicas) for count in alive)
        assert course.fleet.count() <= max(sum(alive), most) + surplus

    course.on_step = check
    course.run()


@slow
@given(make_worlds().filter(lambda world: world.params.type is StrategyType.ROLLING))
def test_no_step_makes_fewer_available_than_the_budget_allows(world: World) -> None:
    course = world.build()
    fewest = budget_of(world.params, world.replicas).fewest

    def check(view: RolloutView, step: ScaleStep) -> None:
        before = sum(
            item.is_available(world.params.min_ready, view.now)
            for found in view.sets
            for item in found.replicas
        )
        assert course.fleet.count_available(world.params.min_ready) >= min(before, fewest)

    course.on_step = check
    course.run()


@slow
@given(make_worlds().filter(lambda world: world.params.type is StrategyType.RECREATE))
def test_recreate_starts_nothing_while_another_release_is_there(world: World) -> None:
    course = world.build()

    def check(view: RolloutView, step: ScaleStep) -> None:
        assert not step.replicas or all(item.release == step.release for item in view.sets)

    course.on_step = check
    course.run()


@slow
@given(make_worlds())
def test_what_it_says_at_the_end_is_so(world: World) -> None:
    course = world.build()
    phase = RolloutPhase(course.run())
    found = {item.release: item.replicas for item in course.fleet.sets()}
    status = course.status
    if phase is RolloutPhase.FAILED:
        assert status.message
        return
    runs = world.target if phase is RolloutPhase.IDLE else world.active
    assert set(found) == ({runs} if world.replicas else set())
    replicas = found.get(runs or 0, ())
    assert len(replicas) == world.replicas and all(item.is_ready for item in replicas)
    assert status.target == world.target
    if phase is RolloutPhase.IDLE:
        assert not status.message
    else:
        assert phase is RolloutPhase.ROLLED_BACK and status.message
        assert runs is not None and runs != world.target


@slow
@given(make_worlds())
def test_a_rollback_goes_to_another_release_and_only_where_it_is_wanted(world: World) -> None:
    course = world.build()
    course.run()
    resumes = (world.status.phase, world.status.target) == (
        RolloutPhase.ROLLING_BACK,
        world.target,
    )
    for tick in course.ticks:
        if tick.decision.status.phase is RolloutPhase.ROLLING_BACK:
            assert world.active not in (None, world.target)
            assert world.params.is_auto_rollback or resumes


@slow
@given(make_worlds())
def test_a_rollback_never_removes_what_serves_of_the_release_it_returns_to(world: World) -> None:
    course = world.build()

    def check(view: RolloutView, step: ScaleStep) -> None:
        is_back = view.status.phase is RolloutPhase.ROLLING_BACK
        if is_back and view.status.target == world.target and step.release == world.active:
            kept = view.set_of(step.release)
            live = sum(item.is_alive for item in kept.replicas) if kept else 0
            assert step.replicas >= min(live, world.replicas)

    course.on_step = check
    course.run()


@slow
@given(make_worlds())
def test_what_is_visible_is_not_done_again(world: World) -> None:
    course = world.build()
    for _ in range(60):
        now = course.fleet.now
        decision = course.take_tick()
        course.fleet.now, later = now, course.fleet.now
        again = course.strategy.next_step(course.view())
        if not course.fleet.scale_error:
            assert not set(decision.steps) & set(again.steps)
        course.fleet.now = later
        if decision.is_done:
            break


@slow
@given(make_plain_worlds(), st.dictionaries(st.integers(0, 30), st.integers(0, 3), max_size=6))
def test_a_crash_at_any_tick_leads_to_the_same_end(
    world: World, crashes: Mapping[int, int]
) -> None:
    straight, crashed = world.build(), world.build()
    assert straight.run() == crashed.run(crashes=crashes)
    assert straight.status.message == crashed.status.message
    assert _shape(straight) == _shape(crashed)


def _shape(course: Simulation) -> list[tuple[int, int]]:
    return [(item.release, len(item.replicas)) for item in course.fleet.sets()]


@slow
@given(make_plain_worlds())
def test_the_preview_is_true(world: World) -> None:
    course = world.build()
    has_active = world.active is not None
    preview = preview_rollout(world.params, world.replicas, has_active)
    seen = watch(course)
    course.run()
    assert max(live for live, _ in seen) <= max(preview.most_replicas, seen[0][0])
    assert min(available for _, available in seen) >= preview.fewest_ready
    if not has_active or not world.replicas:
        assert not preview.has_downtime
    elif min(available for _, available in seen) == 0:
        assert preview.has_downtime


@slow
@given(make_plain_worlds(is_first=False))
def test_the_preview_of_a_good_release_is_exact(world: World) -> None:
    """Not only a bound: with nothing unready at the start, the most is really reached. (Where
    traffic is moved first, a replica may be up before the one it replaces has gone.)"""
    world = replace(world, behaviours=world.behaviours[:1], is_routed=False, analyst=None)
    course = world.build()
    preview = preview_rollout(world.params, world.replicas, True)
    seen = watch(course)
    assert course.run() == "idle"
    assert max(live for live, _ in seen) == preview.most_replicas or not world.replicas
    assert min(available for _, available in seen) == preview.fewest_ready
