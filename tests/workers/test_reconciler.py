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
from ctrlplane_gitops.source.latest import LatestSource
from ctrlplane_gitops.state.desired import ControlPlane, ProviderConfig
from ctrlplane_gitops.state.key import instance_key
from ctrlplane_gitops.store.sqlite import SqliteStore
from ctrlplane_gitops.workers.poller import Poller
from ctrlplane_gitops.workers.reconciler import Reconciler
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
        self.reconciler = Reconciler(
            source, Follower(source, None, {"env": EnvBackend({})}), self.open_parts, self.clock,
            self.cancel, INTERVAL, self.reports.append, chance=lambda: 0,
        )  # fmt: skip
        offer = self.reconciler.yield_to_news
        self.poller = Poller(source, offer, self.looks.append, chance=lambda: 0)

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
            timeout=timedelta(seconds=50),  # For what never comes.
        )

    def run(self, after: timedelta = timedelta()) -> list[PassReport]:
        """A look and a run some time later; the passes it made."""
        self.clock.shift += after
        self.looked = self.poller.run()
        seen = len(self.reports)
        self.provider.asked = []
        self.ran = self.reconciler.run()
        return self.reports[seen:]

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

    def lose(self) -> None:
        """The replicas of WEB are gone, and nobody said so."""
        with self.provider.world.change() as world:
            for name in [key for key, item in world.replicas.items() if item.tenant == "a"]:
                del world.replicas[name]

    def close(self) -> None:
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


@pytest.fixture
def stuck(scene: Scene) -> Iterator[threading.Thread]:
    """A pass whose rollout never gets ready."""
    scene.provider.faults.never_ready.add("instance/a/web")
    scene.push("a", tenant("a") + app("a", version="2"))
    thread = threading.Thread(target=scene.run)
    thread.start()
    wait_until(lambda: len(scene.replicas_of("a")) == 2)
    yield thread
    scene.cancel.set()
    thread.join(10)


def test_news_wait_for_a_pass_that_has_only_begun(scene: Scene, stuck: threading.Thread) -> None:
    scene.push("b", tenant("b") + app("b", version="2"))
    left = scene.poller.run().after
    assert left is not None and timedelta(seconds=20) < left <= timedelta(seconds=30)
    scene.cancel.set()
    stuck.join(10)
    assert scene.reports[-1].outcome is PassOutcome.CANCELLED


def test_a_pass_that_has_had_its_time_is_given_up_for_news(
    scene: Scene, stuck: threading.Thread
) -> None:
    scene.clock.shift += timedelta(seconds=31)
    assert scene.poller.run().after is None  # Nothing is new.
    assert stuck.is_alive()

    # Somebody has found out why, and mended it.
    scene.provider.faults.never_ready.clear()
    scene.push("a", tenant("a") + app("a", version="3"))
    scene.push("b", tenant("b") + app("b", version="2"))
    scene.poller.run()
    stuck.join(10)
    assert scene.reports[-1].outcome is PassOutcome.SUPERSEDED
    [report] = scene.run()
    assert (report.outcome, report.is_whole) == (PassOutcome.APPLIED, False), report.notes
    assert scene.provider.asked[0] == {WEB, instance_key("b", "web")}
    assert [len(scene.replicas_of(name)) for name in "abc"] == [1, 1, 1]
