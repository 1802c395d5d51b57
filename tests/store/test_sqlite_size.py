"""How a store grows: what is kept, and what one step costs."""

from __future__ import annotations

import gc
import tracemalloc
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from ctrlplane_gitops.diagnostics import Origin
from ctrlplane_gitops.events.event import EventType, make_event
from ctrlplane_gitops.ids import IdPrefix, new_id
from ctrlplane_gitops.state.desired import DesiredResource
from ctrlplane_gitops.state.key import ResourceKey, instance_key
from ctrlplane_gitops.state.log import Page
from ctrlplane_gitops.state.recorded import (
    Event,
    Intent,
    RecordBatch,
    RecordedInstance,
    RecordedResource,
    RolloutPhase,
    RolloutStatus,
)
from ctrlplane_gitops.state.template import FileMount, ReleaseState, ReleaseTemplate
from ctrlplane_gitops.store.conformance_kit import (
    FULL_RELEASE,
    FULL_TEMPLATE,
    NOW,
    SECOND,
    WEB,
    make_release,
)
from ctrlplane_gitops.store.sqlite import SqliteStore
from tests.store.sqlite_kit import fence_of, make_store

STEPS = 60


def make_fleet(path: Path, size: int) -> list[ResourceKey]:
    """A closed store with that many instances, each with two releases and some history."""
    keys = [instance_key(f"t{n % 50:02d}", f"i{n:05d}") for n in range(size)]
    resources = [RecordedResource(key, "f" * 16, '{"replicas":3}' * 20, path="x") for key in keys]
    releases = [
        replace(FULL_RELEASE, instance=key, number=number, state=ReleaseState.ACTIVE)
        for key in keys
        for number in (1, 2)
    ]
    history = enumerate(keys, -size)
    events = [Event(id_of("evt", n), NOW, "x", key.address, "m" * 60) for n, key in history]
    intents = [Intent(item.id, NOW, item.address, "scale", NOW, "ok") for item in events]
    make_store(
        path,
        RecordBatch(
            plane_id="pla_1",
            resources=tuple(resources),
            instances=tuple(RecordedInstance(key, "docker", 2) for key in keys),
            releases=tuple(releases),
            intents=tuple(intents),
            events=tuple(events),
        ),
    )
    return keys


def id_of(prefix: str, number: int) -> str:
    """Sorts by number, which may be negative; as long as ours, but the same in every run."""
    return f"{prefix}_{number + 10**25:026d}"


def journalled_per_step(path: Path, size: int) -> float:
    """Bytes written to the journal for one step of one rollout, on the average of several."""
    keys = make_fleet(path, size)
    store = SqliteStore(path)
    fence = fence_of(store)
    journal = path.with_name(f"{path.name}-wal")
    store.record(RecordBatch(plane_id="pla_2"), fence)
    before = journal.stat().st_size
    for step in range(STEPS):
        at, key = NOW + step * SECOND, keys[step * 37 % size]
        status = RolloutStatus(RolloutPhase.PROGRESSING, 2, 1, at, at, step)
        opened = Intent(id_of("int", step), at, key.address, "scale v2 to 3 on docker")
        store.record(
            RecordBatch(
                instances=(RecordedInstance(key, "docker", 1, None, status),), intents=(opened,)
            ),
            fence,
        )
        event = Event(id_of("evt", step), at, "replicas.scaled", key.address, "v2 scaled to 3")
        closed = replace(opened, closed_at=at, outcome="ok")
        store.record(RecordBatch(intents=(closed,), events=(event,)), fence)
    grown = journal.stat().st_size - before
    store.close()
    assert grown < 1000 * 4096, "the journal was not begun anew, so its growth is what was written"
    return grown / STEPS


def test_what_a_step_writes_does_not_grow_with_the_fleet(tmp_path: Path) -> None:
    small = journalled_per_step(tmp_path / "small.db", 100)
    large = journalled_per_step(tmp_path / "large.db", 1000)
    assert large / small <= 1.1, (small, large)
    assert small > 0


def test_the_newest_events_and_closed_intents_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    moments = [NOW + n * SECOND for n in range(102_003)]
    events = [make_event(EventType.APPLY_STARTED, at, "", str(n)) for n, at in enumerate(moments)]
    ids = [new_id(IdPrefix.INTENT, at) for at in moments[:1004]]
    intents = [
        Intent(id, at, "", "scale", None if n in (0, 700) else at, "")
        for n, (id, at) in enumerate(zip(ids, moments[:1004], strict=True))
    ]
    make_store(path, RecordBatch(events=tuple(events), intents=tuple(intents)))
    store = SqliteStore(path)
    # The first batch of an opening is when it is trimmed: this one's own count as well.
    late = make_event(EventType.APPLY_ENDED, moments[-1] + SECOND, "", "late")
    store.record(RecordBatch(events=(late,)), fence_of(store))
    rows = store.read_events(page=Page(200_000, is_oldest_first=True))
    assert [row.event.message for row in rows] == [
        *map(str, range(2_004, 102_003)),
        "late",
    ]
    assert [item.id for item in store.read_open_intents()] == [ids[0], ids[700]]
    closed = "SELECT id FROM closed_intents ORDER BY id"
    assert [row[0] for row in store._select(closed, ())] == [
        id for n, id in enumerate(ids) if n not in (0, 1, 2, 700)
    ]
    store.close()


def test_contents_that_no_kept_release_uses_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    template = ReleaseTemplate("a", files=(FileMount("/c", "cc"),))
    kept = replace(make_release(1), template=FULL_TEMPLATE)
    old = replace(make_release(2), template=template)
    contents = {name: name.encode() for name in ("aa", "bb", "cc")}
    make_store(path, RecordBatch(blobs=contents, releases=(kept, old, make_release(3))))
    store = SqliteStore(path)
    batch = RecordBatch(
        removed_releases=((WEB, 2),), blobs={"dd": b"dd"}, releases=(_with_file("dd"),)
    )
    store.record(batch, fence_of(store))
    found = {name: store.read_blob(name) for name in ("aa", "bb", "cc", "dd")}
    assert found == {"aa": b"aa", "bb": b"bb", "cc": None, "dd": b"dd"}
    store.close()


def _with_file(digest: str):
    return replace(make_release(4), template=ReleaseTemplate("a", files=(FileMount("/d", digest),)))


def test_what_git_says_as_well_is_not_held_twice(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    first, second, *_ = make_fleet(path, 10)
    recorded = SqliteStore(path).load_state().resources
    same = recorded[first]
    wanted = DesiredResource(first, same.attributes_json, same.fingerprint, Origin("x"))
    other = DesiredResource(second, "{}", "another", Origin("y"))
    loaded = SqliteStore(path).load_state(known={first: wanted, second: other}).resources
    assert loaded == recorded
    assert loaded[first].attributes_json is wanted.attributes_json
    assert loaded[first].key is wanted.key


def test_releases_that_nobody_asks_for_take_little_space(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    keys = make_fleet(path, 1000)
    tracemalloc.start()
    try:
        with closing(SqliteStore(path)) as store:
            before = tracemalloc.get_traced_memory()[0]
            releases = store.load_state(["nobody"]).releases
            empty = tracemalloc.get_traced_memory()[0] - before
            del releases
            before = tracemalloc.get_traced_memory()[0]
            releases = store.load_state().releases
            gc.collect()
            held = tracemalloc.get_traced_memory()[0] - before
            assert len(releases) == len(keys)
            assert [item.number for item in releases[keys[3]]] == [1, 2]
    finally:
        tracemalloc.stop()
    assert held - empty < 400 * len(keys)
