"""The reconciler against a real repository, store and a provider in memory, hour by hour."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from ctrlplane_gitops.clock import SystemClock
from ctrlplane_gitops.execute.pool import Pool
from ctrlplane_gitops.providers.base import ProviderSettings
from ctrlplane_gitops.reconcile.follow import Follower
from ctrlplane_gitops.reconcile.report import PassOutcome, PassReport
from ctrlplane_gitops.reconcile.run import PassParts
from ctrlplane_gitops.secrets.env import EnvBackend
from ctrlplane_gitops.source.base import Snapshot
from ctrlplane_gitops.source.latest import LatestSource
from ctrlplane_gitops.state.desired import ControlPlane, ProviderConfig
from ctrlplane_gitops.state.key import instance_key
from ctrlplane_gitops.state.log import EventFilter
from ctrlplane_gitops.store.sqlite import SqliteStore
from ctrlplane_gitops.workers.drift import LIMIT
from ctrlplane_gitops.workers.poller import Poller
from ctrlplane_gitops.workers.reconciler import Reconciler, Told
from tests.e2e.plane import wait_until
from tests.reconcile.follow_kit import PLANE, app, tenant
from tests.reconcile.plane_kit import AskedProvider, BreakableSource, quick
from tests.source.repo import commit, make_repo, write

POLL, INTERVAL = timedelta(seconds=30), timedelta(seconds=60)
WEB = instance_key("a", "web")


class ShiftedClock(SystemClock):
    """Real waiting, and a time that can be moved on."""

    def __init__(self) -> None:
        self.shift = timedelta()

    def now(self) -> datetime:
        return super().now() + self.shift


class Scene:
    """``reports`` are of the passes, ``looks`` the errors of the looks at the source."""

    def __init__(self, root: Path) -> None:
        files = {f"tenants/{name}.yaml": quick(tenant(name) + app(name)) for name in "abc"}
        self.repo = make_repo(root / "repo", {"ctrlplane.yaml": PLANE.encode(), **files})
        self.store = SqliteStore(root / "state.db")
        config = ProviderConfig("here", "memory")
        self.provider = AskedProvider(ProviderSettings("prod", config, str(root)))
        self.provider.asked = []
        self.pool, self.clock = Pool(4, "test"), ShiftedClock()
        self.remote = BreakableSource(self.repo)
        self.reports: list[PassReport] = []
        self.looks: list[str] = []
        source = LatestSource(self.remote)
        self.cancel = threading.Event()
        self.dues: list[None] = []
        self.were_pending: list[bool] = []
        self.told_of = Told(
            on_pass=self._take_pass,
            on_due=lambda: self.dues.append(None),
        )
        self.reconciler = Reconciler(
            source, Follower(source, None, {"env": EnvBackend({})}), self.open_parts, self.clock,
            self.cancel, INTERVAL, self.told_of, chance=lambda: 0,
        )  # fmt: skip
        self.poller = Poller(source, lambda: None, self.looks.append, chance=lambda: 0)

    def _take_pass(self, report: PassReport, snapshot: Snapshot | None) -> None:
        if snapshot is not None:
            self.were_pending.append(self.reconciler.is_pending(snapshot))
        self.reports.append(report)

    def open_parts(self, spec: ControlPlane, stop: threading.Event) -> PassParts:
        return PassParts(
            store=self.store,
            providers={"here": self.provider},
            clock=self.clock,
            actions=self.pool,
            looks=self.pool,
            probes=self.pool,
            cancel=stop,
            actor="system:test",
            on_event=lambda event: None,
            on_wait=lambda instance, text: None,
            lock_timeout=timedelta(),
        )

    def run(self, after: timedelta = timedelta()) -> list[PassReport]:
        """A look and a run some time later; the passes it made, which have ended."""
        seen = len(self.reports)
        self.begin(after)
        assert self.reconciler.wait(timedelta(seconds=15))
        return self.reports[seen:]

    def begin(self, after: timedelta = timedelta()) -> None:
        """The same, and nobody waits for the end of what has begun."""
        self.clock.shift += after
        self.looked = self.poller.run()
        self.provider.asked = []
        self.ran = self.reconciler.run()

    def push(self, name: str, text: str | None) -> str:
        path = self.repo / f"tenants/{name}.yaml"
        if text is None:
            path.unlink()
        else:
            write(self.repo, {f"tenants/{name}.yaml": quick(text)})
        return commit(self.repo)

    def replicas(self) -> dict[str, str]:
        sets = self.provider.observe().replica_sets
        return {str(item.instance): replica.id for item in sets for replica in item.replicas}

    def replicas_of(self, tenant: str) -> list[str]:
        sets = self.provider.observe().replica_sets
        return [x.id for item in sets for x in item.replicas if item.instance.tenant == tenant]

    def events(self, type: str) -> int:
        return len(self.store.read_events(EventFilter(type_prefix=type)))

    def lose(self) -> None:
        """The replicas of WEB are gone, and nobody said so."""
        with self.provider.world.change() as world:
            for name in [key for key, item in world.replicas.items() if item.tenant == "a"]:
                del world.replicas[name]

    def close(self) -> None:
        self.cancel.set()
        assert self.reconciler.wait(timedelta(seconds=15))
        self.pool.close()
        self.store.close()


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """The first pass has been made."""
    made = Scene(tmp_path)
    [first] = made.run()
    assert (first.outcome, first.is_whole, first.is_complete) == (PassOutcome.APPLIED, True, True)
    yield made
    made.close()


def test_a_poll_of_the_same_commit_makes_no_pass_and_asks_no_provider(scene: Scene) -> None:
    assert scene.run(POLL) == []
    assert scene.looks == ["", ""] and scene.provider.asked == []


def test_a_commit_s_pass_is_about_the_tenant_it_concerns(scene: Scene) -> None:
    head = scene.push("a", tenant("a") + app("a", version="2"))
    [report] = scene.run(POLL)
    assert (report.outcome, report.is_whole, report.commit) == (PassOutcome.APPLIED, False, head)
    assert scene.provider.asked[0] == {WEB}
    assert scene.run(timedelta(seconds=1)) == []
    # Of the others it still knows what they are.
    desired = scene.reconciler.desired
    assert desired is not None and {key.tenant for key in desired.instances} == set("abc")


def test_a_commit_that_concerns_nobody_makes_no_pass(scene: Scene) -> None:
    write(scene.repo, {"README": b"words"})
    commit(scene.repo)
    assert scene.run(POLL) == []
    assert scene.run(timedelta(seconds=1)) == []


def test_everything_is_held_against_what_runs_on_the_interval(scene: Scene) -> None:
    [report] = scene.run(INTERVAL)
    assert (report.outcome, report.is_whole) == (PassOutcome.UNCHANGED, True)
    assert scene.provider.asked[0] is None


def test_a_removed_tenant_is_forgotten(scene: Scene) -> None:
    scene.push("b", None)
    [report] = scene.run(POLL)
    assert report.is_whole  # A part removes nothing: guards weigh against all there is.
    desired = scene.reconciler.desired
    assert desired is not None and {key.tenant for key in desired.instances} == set("ac")


def test_with_the_remote_down_for_an_hour_what_drifts_is_repaired(scene: Scene) -> None:
    scene.remote.is_broken = True
    before = scene.replicas()
    del before["instance/a/web"]
    waits = []
    for minute in range(60):
        if minute == 30:
            scene.lose()
        [report] = scene.run(INTERVAL)
        waits.append((scene.looked.after or timedelta()).total_seconds())
        assert report.is_complete and scene.looked.error == "gone"
        assert report.outcome is (PassOutcome.APPLIED if minute == 30 else PassOutcome.UNCHANGED)
    assert before.items() < scene.replicas().items()
    assert waits[:8] == [5, 10, 20, 40, 80, 160, 180, 180]

    scene.remote.is_broken = False
    scene.push("a", tenant("a") + app("a", version="2"))
    [report] = scene.run(timedelta(seconds=1))
    assert (report.outcome, scene.looked.after) == (PassOutcome.APPLIED, None)


def test_a_lease_that_somebody_else_has_is_asked_for_again(scene: Scene) -> None:
    fence = scene.store.acquire("apply", "another", timedelta(hours=1), scene.clock.now())
    assert fence is not None
    scene.push("a", tenant("a") + app("a", version="2"))
    [report] = scene.run(POLL)
    assert (report.outcome, report.must_retry) == (PassOutcome.LOCKED, True)
    assert "another apply is at work" in scene.ran.error
    scene.store.release(fence)
    [report] = scene.run(timedelta(seconds=5))
    assert (report.outcome, report.is_whole) == (PassOutcome.APPLIED, False)


def test_a_failing_provider_is_tried_again_and_then_it_is_done(scene: Scene) -> None:
    scene.provider.faults.gap = "it hangs"
    scene.push("a", tenant("a") + app("a", version="2"))
    [report] = scene.run(POLL)
    assert report.must_retry and not report.is_complete
    scene.provider.faults.gap = None
    [report] = scene.run(timedelta(seconds=5))
    assert report.outcome is PassOutcome.APPLIED


def test_an_emptied_repo_is_refused_without_asking_anybody(scene: Scene) -> None:
    before = scene.replicas()
    for path in (*(scene.repo / "tenants").iterdir(), scene.repo / "ctrlplane.yaml"):
        path.unlink()
    commit(scene.repo)
    [report] = scene.run(POLL)
    assert report.outcome is PassOutcome.REFUSED and scene.provider.asked == []
    assert "there are no specs any more" in report.notes[0]
    assert scene.run(timedelta(seconds=10)) == []
    assert scene.replicas() == before


def stick(scene: Scene, tenant_name: str = "a") -> None:
    """A rollout that never gets ready is under way."""
    scene.provider.faults.never_ready.add(f"instance/{tenant_name}/web")
    scene.push(tenant_name, tenant(tenant_name) + app(tenant_name, version="2"))
    scene.begin()
    wait_until(lambda: len(scene.replicas_of(tenant_name)) == 2)


def test_a_commit_does_not_wait_for_somebody_else_s_rollout(scene: Scene) -> None:
    stick(scene)
    head = scene.push("b", tenant("b") + app("b", version="2"))
    scene.begin()
    wait_until(lambda: any(item.commit == head for item in scene.reports))
    report = scene.reports[-1]
    assert (report.outcome, report.is_whole) == (PassOutcome.APPLIED, False)
    assert scene.provider.asked[0] == {instance_key("b", "web")}
    assert len(scene.replicas_of("a")) == 2


def test_drift_is_repaired_beside_a_rollout(scene: Scene) -> None:
    stick(scene)
    lost = scene.replicas_of("b")
    with scene.provider.world.change() as world:
        for name in [key for key, item in world.replicas.items() if item.tenant == "b"]:
            del world.replicas[name]
    seen = len(scene.reports)
    scene.begin(INTERVAL)
    wait_until(lambda: len(scene.replicas_of("b")) == 1 and scene.replicas_of("b") != lost)
    wait_until(lambda: len(scene.reports) > seen)
    assert (scene.reports[-1].outcome, scene.reports[-1].corrected) == (PassOutcome.APPLIED, 1)
    assert len(scene.replicas_of("a")) == 2


def test_a_pass_over_what_is_under_way_changes_nothing(scene: Scene) -> None:
    stick(scene)
    seen = len(scene.reports)
    scene.begin(INTERVAL)
    wait_until(lambda: len(scene.reports) > seen)
    assert [item.outcome for item in scene.reports[seen:]] == [PassOutcome.UNCHANGED]
    assert scene.reports[-1].effects == 0


def test_a_newer_commit_takes_the_place_of_a_rollout_that_hangs(scene: Scene) -> None:
    stick(scene)
    # Somebody has found out why, and mended it.
    scene.provider.faults.never_ready.clear()
    head = scene.push("a", tenant("a") + app("a", version="3"))
    reports = scene.run()
    assert [(item.outcome, item.commit == head) for item in reports] == [
        (PassOutcome.SUPERSEDED, False), (PassOutcome.APPLIED, True),
    ]  # fmt: skip
    assert [len(scene.replicas_of(name)) for name in "abc"] == [1, 1, 1]
    recorded = scene.store.load_state()
    assert recorded.instances[WEB].release == 3
    assert scene.run(INTERVAL)[0].outcome is PassOutcome.UNCHANGED


def test_a_commit_that_is_taken_back_undoes_what_is_under_way(scene: Scene) -> None:
    stick(scene)
    scene.provider.faults.never_ready.clear()
    scene.push("a", tenant("a") + app("a"))
    assert scene.run()[-1].outcome is PassOutcome.APPLIED
    assert scene.store.load_state().instances[WEB].release == 1
    assert [len(scene.replicas_of(name)) for name in "abc"] == [1, 1, 1]


def test_a_tenant_that_is_removed_in_the_middle_of_its_rollout_goes(scene: Scene) -> None:
    stick(scene)
    scene.push("a", None)
    assert scene.run()[-1].outcome is PassOutcome.APPLIED
    assert [len(scene.replicas_of(name)) for name in "abc"] == [0, 1, 1]
    assert WEB not in scene.store.load_state().instances


def test_what_is_taken_away_while_it_is_made_goes_as_soon_as_it_is_there(scene: Scene) -> None:
    scene.provider.faults.never_ready.add("instance/d/web")
    scene.push("d", tenant("d") + app("d"))
    scene.begin()
    wait_until(lambda: len(scene.replicas_of("d")) == 1)
    scene.push("d", None)
    scene.run()
    scene.run(timedelta(seconds=1))
    assert scene.replicas_of("d") == []


def test_an_instance_that_fails_is_tried_again_by_itself_and_holds_up_nobody(
    scene: Scene,
) -> None:
    scene.lose()
    scene.provider.faults.fail_effects = set(range(1, 1000))
    [report] = scene.run(INTERVAL)
    assert report.outcome is PassOutcome.FAILED and not report.must_retry
    assert scene.run(timedelta(seconds=1)) == []

    # The others are looked at meanwhile; what failed is not tried before its time.
    scene.provider.faults.fail_effects = set()
    head = scene.push("b", tenant("b") + app("b", version="2"))
    [report] = scene.run(timedelta(seconds=1))
    assert (report.outcome, report.commit) == (PassOutcome.APPLIED, head)
    assert scene.replicas_of("a") == []

    [report] = scene.run(timedelta(seconds=5))
    assert report.outcome is PassOutcome.APPLIED
    assert len(scene.replicas_of("a")) == 1


def test_a_new_wish_is_tried_at_once(scene: Scene) -> None:
    scene.lose()
    scene.provider.faults.fail_effects = set(range(1, 1000))
    scene.run(INTERVAL)
    scene.provider.faults.fail_effects = set()
    scene.push("a", tenant("a") + app("a", version="2"))
    [report] = scene.run()
    assert report.outcome is PassOutcome.APPLIED
    assert len(scene.replicas_of("a")) == 1


def test_what_drifts_again_and_again_is_left_until_somebody_asks(scene: Scene) -> None:
    for _ in range(LIMIT):
        scene.lose()
        [report] = scene.run(INTERVAL)
        assert (report.outcome, report.corrected) == (PassOutcome.APPLIED, 1)
    for _ in range(3):
        scene.lose()
        [report] = scene.run(INTERVAL)
        assert (report.corrected, report.effects, scene.replicas_of("a")) == (0, 0, [])
    assert scene.reconciler.quarantined == {WEB}
    assert scene.events("instance.quarantined") == 1

    scene.reconciler.ask([WEB])
    [report] = scene.run()
    assert report.corrected == 1 and len(scene.replicas_of("a")) == 1
    assert scene.reconciler.quarantined == frozenset()
    assert scene.events("instance.released") == 1


def test_a_commit_is_applied_to_what_is_quarantined(scene: Scene) -> None:
    for _ in range(LIMIT + 1):
        scene.lose()
        scene.run(INTERVAL)
    scene.push("a", tenant("a") + app("a", version="2"))
    [report] = scene.run()
    assert report.outcome is PassOutcome.APPLIED and len(scene.replicas_of("a")) == 1


def test_drift_is_reported_where_it_is_observed(scene: Scene) -> None:
    scene.push("a", tenant("a").replace("{}", "{drift: observe}") + app("a"))
    scene.run()
    scene.lose()
    for _ in range(3):
        [report] = scene.run(INTERVAL)
        assert (report.corrected, scene.replicas_of("a")) == (0, [])
    assert scene.events("drift.detected") == 1
    scene.push("a", tenant("a") + app("a"))
    scene.run()
    scene.run(INTERVAL)
    assert len(scene.replicas_of("a")) == 1 and scene.events("drift.resolved") == 1
