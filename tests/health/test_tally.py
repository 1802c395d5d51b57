"""From looks and results to the verdict on an instance."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from ctrlplane_gitops.diagnostics import Origin
from ctrlplane_gitops.health.check import ProbeResult
from ctrlplane_gitops.health.tally import Probed, Tally
from ctrlplane_gitops.health.verdict import judge, next_state
from ctrlplane_gitops.state.desired import (
    DesiredInstance,
    DesiredResource,
    HealthCheck,
    ProbeType,
    Resources,
)
from ctrlplane_gitops.state.health import WHOLE, Health
from ctrlplane_gitops.state.key import instance_key
from ctrlplane_gitops.state.observed import (
    ObservedReplica,
    ObservedReplicaSet,
    ReplicaPhase,
    Verdict,
)
from ctrlplane_gitops.state.template import ReleaseTemplate
from ctrlplane_gitops.value import replace

WEB = instance_key("acme", "web")
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
READY = HealthCheck("ready", ProbeType.HTTP, "http", retries=2)
LIVE = HealthCheck("live", ProbeType.TCP, "http", retries=1)
OK, BAD = ProbeResult(True, "200"), ProbeResult(False, "connection refused")


def desire(replicas: int = 1, *checks: HealthCheck) -> DesiredInstance:
    resource = DesiredResource(WEB, "{}", "f", Origin("a.yaml"))
    template = ReleaseTemplate("here", command=("run",))
    return DesiredInstance(
        resource, "here", replicas, Resources(), checks, (), template=template, revision="r"
    )


def replica(
    index: int, phase: ReplicaPhase = ReplicaPhase.RUNNING, start: int = 0
) -> ObservedReplica:
    """``start`` is another one in the same place."""
    name = f"prod.acme.web.v1.{index}"
    return ObservedReplica(name, f"{name}-{start}", index, phase, started_at=NOW + start * SECOND)


class Scene:
    """One instance; ``now`` goes on by a second with each look and result."""

    def __init__(self, replicas: int, *checks: HealthCheck, told: Health | None = None) -> None:
        self.tally = Tally(WEB, told)
        self.tally.take_desired(desire(replicas, *checks))
        self.now = NOW
        self.told: list[tuple[Health | None, Health]] = []
        self.probed: dict[tuple[int, str], Probed] = {}

    def look(self, *replicas: ObservedReplica) -> None:
        self.now += SECOND
        found = ObservedReplicaSet(WEB, "here", 1, "r", replicas)
        for item in self.tally.take_look((found,) if replicas else ())[1]:
            self.probed[item.replica.index, item.check.name] = item

    def say(self, index: int, result: ProbeResult, check: str = "ready", times: int = 1) -> None:
        for _ in range(times):
            self.now += SECOND
            self.probed[index, check].take(result, self.now)

    def settle(self) -> Health:
        turns = self.tally.settle(self.now)
        if turns.told is not None:
            self.told.append((turns.told[0], turns.told[1].health))
        return self.tally.health


def test_directly_after_the_start_everything_is_unverified() -> None:
    scene = Scene(2, READY)
    scene.look(replica(0), replica(1))
    assert scene.settle() is Health.UNKNOWN
    scene.say(0, BAD)
    scene.say(1, BAD)
    assert scene.settle() is Health.UNKNOWN
    assert scene.told == []


def test_it_takes_the_checks_own_number_of_failures_and_one_success() -> None:
    scene = Scene(1, READY)
    scene.look(replica(0))
    scene.say(0, OK)
    assert scene.settle() is Health.HEALTHY
    scene.say(0, BAD)
    assert scene.settle() is Health.HEALTHY
    scene.say(0, BAD)
    assert scene.settle() is Health.UNHEALTHY
    scene.say(0, OK)
    assert scene.settle() is Health.HEALTHY
    assert scene.told == [
        (None, Health.HEALTHY),
        (Health.HEALTHY, Health.UNHEALTHY),
        (Health.UNHEALTHY, Health.HEALTHY),
    ]


def test_some_replicas_are_degraded_and_none_is_unhealthy() -> None:
    scene = Scene(2, READY)
    scene.look(replica(0), replica(1))
    scene.say(0, OK)
    scene.say(1, BAD, times=2)
    assert scene.settle() is Health.DEGRADED
    span = scene.tally.spans[WHOLE]
    assert (span.healthy, span.replicas) == (1, 2)
    assert span.message == "prod.acme.web.v1.1 ready: connection refused"
    scene.say(0, BAD, times=2)
    assert scene.settle() is Health.UNHEALTHY


def test_every_check_has_a_verdict_of_its_own() -> None:
    scene = Scene(1, READY, LIVE)
    scene.look(replica(0))
    scene.say(0, OK, "live")
    assert scene.settle() is Health.UNKNOWN
    scene.say(0, BAD, "ready", times=2)
    assert scene.settle() is Health.UNHEALTHY
    held = {name: span.health for name, span in scene.tally.spans.items()}
    assert held == {"live": Health.HEALTHY, "ready": Health.UNHEALTHY, WHOLE: Health.UNHEALTHY}


def test_without_checks_living_is_enough() -> None:
    scene = Scene(2)
    scene.look(replica(0), replica(1, ReplicaPhase.STARTING))
    assert scene.settle() is Health.UNKNOWN
    scene.look(replica(0), replica(1))
    assert scene.settle() is Health.HEALTHY
    scene.look(replica(0), replica(1, ReplicaPhase.CRASHING))
    assert scene.settle() is Health.DEGRADED


def test_what_is_missing_in_one_look_may_be_on_its_way_and_in_two_is_not() -> None:
    scene = Scene(2)
    scene.look(replica(0), replica(1))
    scene.settle()
    scene.look(replica(0), replica(1, ReplicaPhase.STOPPED))
    assert scene.settle() is Health.HEALTHY and scene.tally.is_missing
    scene.look(replica(0))
    assert scene.settle() is Health.DEGRADED
    assert scene.tally.spans[WHOLE].message == "1 missing"
    scene.look()
    assert scene.settle() is Health.UNHEALTHY
    scene.look(replica(0, start=9), replica(1, start=9))
    assert scene.settle() is Health.HEALTHY


def test_what_never_ran_is_not_unhealthy() -> None:
    scene = Scene(2)
    for _ in range(3):
        scene.look()
    assert scene.settle() is Health.UNKNOWN


def test_a_restarted_replica_is_another_one_and_unverified() -> None:
    scene = Scene(1, READY)
    scene.look(replica(0))
    scene.say(0, BAD, times=2)
    assert scene.settle() is Health.UNHEALTHY
    old = scene.probed[0, "ready"]
    scene.look(replica(0, start=1))
    assert scene.settle() is Health.UNHEALTHY, "held until somebody knows better"
    assert not old.is_live
    scene.say(0, OK)
    assert scene.settle() is Health.HEALTHY


def test_a_rollout_is_no_bad_news_while_enough_are_healthy() -> None:
    scene = Scene(1, READY)
    scene.look(replica(0))
    scene.say(0, OK)
    scene.settle()
    scene.look(replica(0), replica(1))
    scene.say(1, OK)
    # The old one is stopping and answers no more.
    scene.say(0, BAD, times=5)
    assert not scene.tally.is_worse()
    assert scene.settle() is Health.HEALTHY
    scene.look(replica(1))
    assert scene.settle() is Health.HEALTHY
    assert scene.told == [(None, Health.HEALTHY)]


def test_a_suspended_instance_ends_without_a_word() -> None:
    scene = Scene(1, READY)
    scene.look(replica(0))
    scene.say(0, OK)
    scene.settle()
    scene.tally.take_desired(desire(0, READY))
    turns = scene.tally.settle(scene.now)
    assert set(turns.ended) == {(WEB, WHOLE), (WEB, "ready")}
    assert (turns.begun, turns.told) == ((), None)
    scene.look()
    assert scene.settle() is Health.UNKNOWN
    assert not scene.tally.spans


def test_a_gap_makes_nothing_of_what_is_probed_and_unknown_of_what_is_only_looked_at() -> None:
    probed, looked_at = Scene(1, READY), Scene(1)
    for scene in (probed, looked_at):
        scene.look(replica(0))
        if scene.probed:
            scene.say(0, OK)
        scene.settle()
        assert scene.tally.take_gap() and not scene.tally.take_gap()
    assert probed.settle() is Health.HEALTHY
    assert looked_at.settle() is Health.UNKNOWN
    looked_at.look(replica(0))
    assert looked_at.settle() is Health.HEALTHY
    assert looked_at.told == [(None, Health.HEALTHY)]


def test_what_was_told_before_a_restart_is_no_news_after_it() -> None:
    same, other = (Scene(1, READY, told=before) for before in (Health.HEALTHY, Health.UNHEALTHY))
    for scene in (same, other):
        scene.look(replica(0))
        assert scene.settle() is Health.UNKNOWN
        scene.say(0, OK)
        assert scene.settle() is Health.HEALTHY
    assert same.told == []
    assert other.told == [(Health.UNHEALTHY, Health.HEALTHY)]


def test_other_checks_begin_anew() -> None:
    scene = Scene(1, READY)
    scene.look(replica(0))
    scene.say(0, OK)
    scene.settle()
    old = scene.probed[0, "ready"]
    assert scene.tally.take_desired(desire(1, replace(READY, path="/other")))
    scene.look(replica(0))
    assert not old.is_live and scene.probed[0, "ready"] is not old
    assert scene.settle() is Health.HEALTHY, "held"


@given(st.text("tf", max_size=40), st.integers(1, 5))
def test_a_check_turns_after_its_failures_in_a_row_and_never_before(
    results: str, retries: int
) -> None:
    state = None
    for place, letter in enumerate(results):
        state = next_state(state, ProbeResult(letter == "t"), retries, NOW + place * SECOND)
        so_far = results[: place + 1]
        telling = re.findall(f"t|f{{{retries},}}", so_far)
        assert state.is_healthy is (telling[-1] == "t" if telling else None)
        assert state.failures == len(so_far) - len(so_far.rstrip("f"))
        assert state.since <= state.at == NOW + place * SECOND


@given(st.integers(0, 5), st.integers(0, 5), st.integers(1, 5))
def test_bad_news_need_proof(healthy: int, unverified: int, wanted: int) -> None:
    """Whatever the unverified turn out to be, the verdict holds; or there is none."""
    verdict = judge(healthy, unverified, wanted)
    outcomes = {judge(healthy + more, 0, wanted) for more in range(unverified + 1)}
    if verdict is Health.DEGRADED:
        assert outcomes == {Health.DEGRADED}
    elif verdict is not Health.UNKNOWN:
        assert outcomes == {verdict}
    else:
        assert len(outcomes) > 1 or unverified


STEPS = st.one_of(
    st.tuples(st.just("look"), st.lists(st.integers(0, 3), max_size=4, unique=True)),
    st.tuples(st.sampled_from(("ok", "bad")), st.integers(0, 3)),
    st.tuples(st.just("want"), st.integers(0, 3)),
    st.tuples(st.just("gap"), st.just(0)),
)


@given(st.lists(STEPS, max_size=40))
@settings(max_examples=200)
def test_spans_never_overlap_and_news_are_never_told_twice(steps: list[tuple[str, object]]) -> None:
    scene = Scene(2, READY)
    held: dict[str, Health] = {}
    last: Health | None = None
    for kind, value in steps:
        if kind == "look":
            assert isinstance(value, list)
            scene.look(*map(replica, value))
        elif kind == "want":
            assert isinstance(value, int)
            scene.tally.take_desired(desire(value, READY))
        elif kind == "gap":
            scene.tally.take_gap()
        else:
            assert isinstance(value, int)
            found = scene.probed.get((value, "ready"))
            if found is not None and found.is_live:
                scene.say(value, OK if kind == "ok" else BAD)
        turns = scene.tally.settle(scene.now)
        for _, name in turns.ended:
            del held[name]
        for span in turns.begun:
            assert span.health is not Health.UNKNOWN
            assert held.get(span.check) is not span.health
            assert 0 <= span.healthy <= span.replicas
            held[span.check] = span.health
        assert held == {name: span.health for name, span in scene.tally.spans.items()}
        if turns.told is not None:
            assert turns.told[0] is last and turns.told[1].health is not last
            last = turns.told[1].health
        if not scene.tally.wanted:
            assert not held


def test_what_the_provider_says_is_believed_and_not_probed() -> None:
    tally = Tally(WEB)
    tally.take_desired(desire(2, READY))
    said = Verdict(True, NOW)
    ready = [replace(replica(index), verdict=said) for index in range(2)]

    def look(*replicas: ObservedReplica) -> list[Probed]:
        return tally.take_look([ObservedReplicaSet(WEB, "here", 1, "r", replicas)])[1]

    assert look(*ready) == []
    tally.settle(NOW)
    assert tally.health is Health.HEALTHY
    failing = replace(ready[1], verdict=Verdict(False, NOW, 1, "pod b: 503"))
    look(ready[0], failing)
    turns = tally.settle(NOW + SECOND)
    assert tally.health is Health.DEGRADED
    assert "pod b: 503" in turns.begun[0].message
    # One that has never been up has not failed yet.
    look(ready[0], replace(failing, verdict=Verdict(False, NOW, 0, "starting")))
    assert [it for _, it, _ in tally.replicas] == [True, None]
