"""The garbage collector against a real repository and store and a provider in memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from ctrlplane_gitops.events.event import EventType, make_event
from ctrlplane_gitops.reconcile.gather import read_documents, resolve_wanted
from ctrlplane_gitops.reconcile.run import Specs
from ctrlplane_gitops.secrets.env import EnvBackend
from ctrlplane_gitops.state.desired import DesiredState
from ctrlplane_gitops.state.key import instance_key, tenant_key
from ctrlplane_gitops.state.log import AuditFilter, Page
from ctrlplane_gitops.state.recorded import RecordBatch, RecordedInstance
from ctrlplane_gitops.store.base import Fence, Store
from ctrlplane_gitops.store.conformance_kit import make_release
from ctrlplane_gitops.workers.garbage_collector import Aged, GarbageCollector
from ctrlplane_gitops.workers.worker import Ran
from tests.reconcile.follow_kit import HEADER, app, tenant
from tests.workers.test_reconciler import Scene as ReconcilerScene

MINUTES = timedelta(minutes=5)
GHOST = ("prod", "ghost", "web", 0)
GHOSTS_OWN = ("prod", "ghost", "", 0)
OLD_SECRETS = ("prod", "a", "web", 7)
MOVED = ("prod", "b", "moved", 0)


class Scene(ReconcilerScene):
    """``collect`` lets some time go by and the collector run."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.collector = GarbageCollector(
            lambda: self.reconciler.desired,
            lambda desired: replace_actor(self.open_parts(desired.plane, threading.Event())),
            self.read,
            self.areas,
            self.clock,
            self.cancel,
        )

    def read(self) -> Specs:
        snapshot = self.remote.fetch()
        wanted = resolve_wanted(read_documents(snapshot, None), {"env": EnvBackend({})})
        assert wanted.desired is not None
        return wanted, wanted.desired

    def areas(self, store: Store, desired: DesiredState) -> Aged:
        return {"events": (store.retained.events, desired.plane.retention.events)}

    def keep(self, *leftovers: tuple[str, str, str, int]) -> None:
        """Somebody was killed before these were removed."""
        with self.provider.world.change() as world:
            world.leftovers |= set(leftovers)

    @property
    def left(self) -> set[tuple[str, str, str, int]]:
        return self.provider.world.read().leftovers

    def collect(self, after: timedelta = MINUTES) -> Ran:
        self.clock.shift += after
        return self.collector.run()

    def collect_long(self) -> None:
        """Longer than anything is given."""
        for _ in range(6):
            self.collect()

    def audit(self) -> list[tuple[str, str, str]]:
        where = AuditFilter(actor="system:garbage-collector")
        rows = self.store.read_audit(where, Page(1000, is_oldest_first=True))
        return [(row.entry.actor, row.entry.action, row.entry.address) for row in rows]

    def fence(self) -> Fence:
        fence = self.store.acquire("apply", "another", timedelta(hours=9), self.clock.now())
        assert fence is not None
        return fence


def replace_actor(parts):
    return replace(parts, actor="system:garbage-collector")


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """The first pass has been made."""
    made = Scene(tmp_path)
    made.run()
    yield made
    made.close()


def test_nothing_is_done_before_the_first_pass(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    assert scene.collect().after == timedelta(seconds=30)
    scene.close()


@pytest.mark.parametrize(
    "kept", [GHOST, GHOSTS_OWN, OLD_SECRETS, MOVED], ids=lambda x: "/".join(map(str, x[1:]))
)
def test_what_is_nobody_s_goes_after_a_quarter_of_an_hour_and_not_before(
    scene: Scene, kept: tuple[str, str, str, int]
) -> None:
    scene.keep(kept)
    assert [scene.collect().counts.get("orphans", 0) for _ in range(3)] == [0, 0, 0]
    assert scene.left == {kept}
    ran = scene.collect()
    assert (ran.counts["orphans"], ran.error, scene.left) == (1, "", set())
    name = f"instance/{kept[1]}/{kept[2]}" if kept[2] else f"tenant/{kept[1]}"
    assert scene.audit() == [("system:garbage-collector", "delete", name)]
    # Whatever else there is was left alone.
    assert [x.outcome for x in scene.run(timedelta(seconds=61))] == ["unchanged"]


def test_a_tenant_s_own_goes_after_that_of_its_instances(scene: Scene) -> None:
    scene.keep(GHOST, GHOSTS_OWN)
    scene.collect_long()
    assert scene.left == {GHOSTS_OWN} or scene.left == set()
    scene.collect_long()
    assert scene.left == set()


def test_what_git_or_the_record_knows_stays(scene: Scene) -> None:
    known = {("prod", "a", "web", 0), ("prod", "a", "", 0), ("prod", "a", "web", 1)}
    scene.keep(("prod", "a", "web", 0), ("prod", "a", "", 0))
    scene.collect_long()
    assert scene.left == known & scene.left and len(scene.left) == 2


def test_another_control_plane_s_stays(scene: Scene) -> None:
    scene.keep(("other", "ghost", "web", 0))
    scene.collect_long()
    assert scene.left == {("other", "ghost", "web", 0)}


def test_whoever_comes_to_be_known_meanwhile_keeps_what_is_kept_for_it(scene: Scene) -> None:
    scene.keep(GHOST)
    scene.collect()
    scene.collect()
    scene.push("ghost", tenant("ghost") + app("ghost"))
    scene.collect_long()
    assert scene.left == {GHOST}


def test_the_grace_begins_anew_when_a_look_is_in_doubt(scene: Scene) -> None:
    scene.keep(GHOST)
    scene.collect()
    scene.collect()
    scene.provider.faults.gap = "it hangs"
    scene.collect()
    scene.provider.faults.gap = None
    assert [scene.collect().counts["orphans"] for _ in range(3)] == [0, 0, 0]
    assert scene.collect().counts["orphans"] == 1


def doubt_gap(scene: Scene) -> None:
    scene.provider.faults.gap = "it hangs"


def doubt_file(scene: Scene) -> None:
    scene.push("b", "a: [")


def doubt_listing(scene: Scene) -> None:
    with scene.provider.world.change() as world:
        world.replicas.clear()


def doubt_identity(scene: Scene) -> None:
    with scene.store._writing() as connection:
        connection.execute("DELETE FROM plane")


def doubt_empty(scene: Scene) -> None:
    for name in "abc":
        scene.push(name, None)


@pytest.mark.parametrize(
    "doubt", [doubt_gap, doubt_file, doubt_listing, doubt_identity, doubt_empty]
)
def test_nothing_goes_while_there_is_doubt(scene: Scene, doubt) -> None:
    scene.keep(GHOST, GHOSTS_OWN, OLD_SECRETS)
    doubt(scene)
    scene.collect_long()
    assert scene.left == {GHOST, GHOSTS_OWN, OLD_SECRETS}
    assert scene.audit() == []


def test_a_frozen_tenant_keeps_all_it_has(scene: Scene) -> None:
    scene.keep(("prod", "b", "gone", 0), OLD_SECRETS)
    scene.push("b", tenant("b") + app("b", "replicsa: 2"))
    scene.collect_long()
    assert scene.left == {("prod", "b", "gone", 0)}


def test_a_protected_tenant_keeps_all_it_has(scene: Scene) -> None:
    text = tenant("b").replace("spec: {}", "spec: {protect: true}")
    assert text != tenant("b")
    scene.keep(MOVED)
    scene.push("b", text + app("b"))
    scene.run(timedelta(seconds=61))
    scene.collect_long()
    assert scene.left == {MOVED}


def test_while_somebody_else_is_at_work_nothing_goes_and_the_grace_goes_on(scene: Scene) -> None:
    scene.keep(GHOST)
    fence = scene.fence()
    scene.collect_long()
    assert scene.left == {GHOST} and scene.collect().error == ""
    scene.store.release(fence)
    assert scene.collect().counts["orphans"] == 1


def test_what_cannot_be_removed_is_said_and_tried_again_later(scene: Scene) -> None:
    scene.keep(GHOST)
    for _ in range(3):
        scene.collect()
    count = scene.provider.effect_count
    scene.provider.faults.fail_effects = {count + 1}
    assert "failed as scripted" in scene.collect().error
    assert scene.left == {GHOST}
    scene.collect_long()
    assert scene.left == set()


def test_volumes_stay(scene: Scene) -> None:
    with scene.provider.world.change() as world:
        world.volumes.add(("prod", "ghost", "web", "data"))
    scene.keep(GHOST, GHOSTS_OWN)
    scene.collect_long()
    scene.collect_long()
    assert ("prod", "ghost", "web", "data") in scene.provider.world.read().volumes


def test_replicas_with_our_labels_that_nobody_knows_are_a_pass_s_to_remove(scene: Scene) -> None:
    """What both could take, one of them takes."""
    with scene.provider.world.change() as world:
        name, row = next(iter(world.replicas.items()))
        name = name.replace(f".{row.tenant}.", ".ghost.")
        world.replicas[name] = replace(row, name=name, tenant="ghost")
    scene.collect_long()
    assert scene.replicas_of("ghost") and scene.audit() == []
    scene.run(timedelta(seconds=61))
    assert not scene.replicas_of("ghost")


def test_replicas_of_a_release_that_nobody_wants_are_a_pass_s_to_remove(scene: Scene) -> None:
    with scene.provider.world.change() as world:
        name, row = next(iter(sorted(world.replicas.items())))
        name = name.replace(".v1.", ".v9.")
        world.replicas[name] = replace(row, name=name, release=9)
    before = scene.replicas_of("a")
    scene.collect_long()
    assert scene.replicas_of("a") == before
    scene.run(timedelta(seconds=61))
    assert len(scene.replicas_of("a")) == len(before) - 1


def test_an_instance_that_stands_in_the_record_alone_is_forgotten(scene: Scene) -> None:
    """Its apply was killed before a replica was there, and its YAML has gone since."""
    ghost = instance_key("ghost", "web")
    fence = scene.fence()
    batch = RecordBatch(
        instances=(RecordedInstance(ghost, "here", None),), releases=(make_release(1, ghost),)
    )
    scene.store.record(batch, fence)
    scene.store.release(fence)
    scene.collect_long()
    state = scene.store.load_state()
    assert ghost not in state.instances and ghost not in state.releases
    assert scene.audit() == [("system:garbage-collector", "forget", "instance/ghost/web")]


def test_releases_of_who_is_gone_and_beyond_the_limit_are_forgotten(scene: Scene) -> None:
    web, ghost = instance_key("a", "web"), instance_key("ghost", "web")
    fence = scene.fence()
    releases = [make_release(number, web) for number in range(2, 15)]
    scene.store.record(RecordBatch(releases=(*releases, make_release(3, ghost))), fence)
    scene.store.release(fence)
    assert scene.collect().counts["releases"] == 4
    kept = scene.store.load_state().releases
    # Ten besides the one that runs.
    assert [item.number for item in kept[web]] == [1, *range(5, 15)]
    assert ghost not in kept
    assert scene.collect().counts["releases"] == 0


def test_old_events_go_by_retention(scene: Scene) -> None:
    fence = scene.fence()
    at = scene.clock.now() - timedelta(days=31)
    old = [make_event(EventType.APPLY_STARTED, at, "", str(n)) for n in range(1200)]
    scene.store.record(RecordBatch(events=tuple(old)), fence)
    scene.store.release(fence)
    scene.cancel.clear()
    assert scene.collect().counts["events"] == 1199
    left = scene.store.read_events(None, Page(5000))
    # The newest stays.
    assert [row.event.message for row in left if row.event.at == at] == ["1199"]


def test_a_tenant_with_nothing_left_is_known_as_long_as_git_says_so(scene: Scene) -> None:
    scene.push("b", tenant("b"))
    scene.run(timedelta(seconds=61))
    scene.keep(("prod", "b", "", 0))
    scene.collect_long()
    assert scene.left == {("prod", "b", "", 0)}
    assert tenant_key("b") in scene.store.load_state().resources


def test_replicas_that_no_deployment_names_any_more_are_removed(scene: Scene) -> None:
    """The deployment is there, under the same name, and runs another instance now."""
    text = tenant("a") + app("a") + app("a", name="api")
    text = text[: text.rindex(HEADER)].replace("instance: web", "instance: api")
    assert text.count("kind: Deployment") == 1 and text.count("kind: Instance") == 2
    scene.push("a", text)
    [report] = scene.run(timedelta(seconds=30))
    assert (report.outcome, report.is_whole) == ("applied", True)
    assert {key for key in scene.replicas() if "/a/" in key} == {"instance/a/api"}
    [report] = scene.run(timedelta(seconds=60))
    assert report.outcome == "unchanged"
    state, web = scene.store.load_state(), instance_key("a", "web")
    assert web in state.resources and web not in state.instances
