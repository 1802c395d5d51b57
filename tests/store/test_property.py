"""Random batches on every store: what is read is what plain dictionaries hold."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctrlplane_gitops.state.key import Kind, ResourceKey
from ctrlplane_gitops.state.log import EventFilter, LogFilter, Page
from ctrlplane_gitops.state.recorded import (
    AuditEntry,
    Event,
    Intent,
    RecordBatch,
    RecordedInstance,
    RecordedResource,
    RecordedState,
    RolloutPhase,
    RolloutStatus,
)
from ctrlplane_gitops.state.template import (
    FileMount,
    Port,
    Release,
    ReleaseState,
    ReleaseTemplate,
    SecretMount,
    SecretType,
    Volume,
)
from ctrlplane_gitops.store.base import Store
from ctrlplane_gitops.store.memory import MemoryStore
from ctrlplane_gitops.store.sqlite import SqliteStore

# Few keys, so that batches meet.
NAMES = st.sampled_from(("a", "b"))
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6)
TIMES = st.datetimes(datetime(2025, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC))
NUMBERS = st.integers(1, 4)
INSTANCES = st.builds(lambda tenant, name: ResourceKey(Kind.INSTANCE, tenant, name), NAMES, NAMES)
KEYS = st.builds(ResourceKey, st.sampled_from(Kind), NAMES, NAMES)
DICTS = st.dictionaries(TEXTS, TEXTS, max_size=2)


def few(items: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(items, max_size=3).map(tuple)


TEMPLATES = st.builds(
    ReleaseTemplate,
    TEXTS,
    st.none() | TEXTS,
    few(TEXTS),
    DICTS,
    few(st.builds(Port, TEXTS, st.integers(1, 65535))),
    few(st.builds(Volume, TEXTS, TEXTS, st.none() | st.integers(0, 2**50))),
    few(st.builds(FileMount, TEXTS, TEXTS, st.integers(0, 0o777))),
    few(
        st.builds(
            SecretMount,
            st.builds(lambda name: ResourceKey(Kind.SECRET, "a", name), NAMES),
            st.sampled_from(SecretType),
            TEXTS,
            TEXTS,
        )
    ),
)
STATUSES = st.builds(
    RolloutStatus,
    st.sampled_from(RolloutPhase),
    st.none() | NUMBERS,
    st.none() | NUMBERS,
    st.none() | TIMES,
    st.none() | TIMES,
    st.integers(0, 9),
    TEXTS,
)
RELEASES = st.builds(
    Release,
    INSTANCES,
    NUMBERS,
    TEXTS,
    TEMPLATES,
    TEXTS,
    TIMES,
    st.sampled_from(ReleaseState),
    TEXTS,
    DICTS,
)


def unique(items: st.SearchStrategy[Any], by: str) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(items, max_size=3, unique_by=lambda item: getattr(item, by)).map(tuple)


def of_release(release: Release) -> tuple[ResourceKey, int]:
    return (release.instance, release.number)


@st.composite
def make_batches(draw: st.DrawFn) -> RecordBatch:
    resources = draw(
        unique(st.builds(RecordedResource, KEYS, TEXTS, TEXTS, st.booleans(), TEXTS, TEXTS), "key")
    )
    number = st.none() | NUMBERS
    instances = draw(
        unique(st.builds(RecordedInstance, INSTANCES, TEXTS, number, number, STATUSES), "key")
    )
    releases = draw(st.lists(RELEASES, max_size=3, unique_by=of_release).map(tuple))
    put = {item.key for item in (*resources, *instances)}
    gone = draw(st.lists(st.tuples(INSTANCES, NUMBERS), max_size=3))
    return RecordBatch(
        draw(st.none() | st.sampled_from(("pla_1", "pla_2"))),
        resources,
        tuple(key for key in draw(few(KEYS)) if key not in put),
        instances,
        tuple(key for key in draw(few(INSTANCES)) if key not in put),
        releases,
        tuple(item for item in gone if item not in [of_release(found) for found in releases]),
        draw(few(INSTANCES)),
        {},
        draw(unique(st.builds(Intent, NAMES, TIMES, TEXTS, TEXTS, st.none() | TIMES, TEXTS), "id")),
        draw(unique(st.builds(Event, NAMES, TIMES, TEXTS, NAMES, TEXTS, DICTS), "id")),
        draw(unique(st.builds(AuditEntry, NAMES, TIMES, *[TEXTS] * 5), "id")),
    )


def as_written(number: int, batch: RecordBatch) -> RecordBatch:
    """As a journal would: no id of something that happened comes twice, and what is intended has
    no outcome yet."""
    return replace(
        batch,
        intents=tuple(
            item if item.closed_at else replace(item, outcome="") for item in batch.intents
        ),
        events=tuple(replace(item, id=f"{number}-{item.id}") for item in batch.events),
        audit=tuple(replace(item, id=f"{number}-{item.id}") for item in batch.audit),
    )


@dataclass
class Model:
    """What a store should hold."""

    plane_id: str | None = None
    resources: dict[Any, Any] = field(default_factory=dict)
    instances: dict[Any, Any] = field(default_factory=dict)
    releases: dict[Any, Release] = field(default_factory=dict)
    intents: dict[str, Intent] = field(default_factory=dict)
    events: dict[str, Event] = field(default_factory=dict)
    audit: dict[str, AuditEntry] = field(default_factory=dict)

    def record(self, batch: RecordBatch) -> None:
        self.plane_id = batch.plane_id or self.plane_id
        self.resources |= {item.key: item for item in batch.resources}
        self.instances |= {item.key: item for item in batch.instances}
        self.releases |= {of_release(item): item for item in batch.releases}
        self.intents |= {item.id: item for item in batch.intents}
        self.events |= {item.id: item for item in batch.events}
        self.audit |= {item.id: item for item in batch.audit}
        for table, keys in (
            (self.resources, batch.removed_resources),
            (self.instances, batch.removed_instances),
            (self.releases, batch.removed_releases),
        ):
            for key in keys:
                table.pop(key, None)

    @property
    def state(self) -> RecordedState:
        releases: dict[ResourceKey, tuple[Release, ...]] = {}
        for (key, _), release in sorted(self.releases.items(), key=lambda item: item[0][1]):
            releases[key] = (*releases.get(key, ()), release)
        return RecordedState(self.plane_id, self.resources, self.instances, releases)


def in_order(items: dict[str, Any]) -> list[Any]:
    return sorted(items.values(), key=lambda item: (item.at, item.id))


def check(store: Store, model: Model) -> None:
    assert store.load_state() == model.state
    events, audit = list(model.events.values()), list(model.audit.values())
    assert [row.event for row in store.read_events()] == events[::-1]
    found = store.read_events(EventFilter(LogFilter(address="a")), Page(1))
    assert [row.event for row in found] == [item for item in events if item.address == "a"][-1:]
    assert [row.entry for row in store.read_audit()] == audit[::-1]
    opened = {key: item for key, item in model.intents.items() if item.closed_at is None}
    assert list(store.read_open_intents()) == [
        replace(item, closed_at=None) for item in in_order(opened)
    ]


@pytest.mark.parametrize("kind", ["sqlite", "memory"])
@settings(max_examples=30, deadline=None)
@given(batches=st.lists(make_batches(), min_size=1, max_size=4))
def test_a_store_holds_what_dictionaries_would(kind: str, batches: list[RecordBatch]) -> None:
    with TemporaryDirectory() as folder:
        path, memory, model = Path(folder, "state.db"), MemoryStore(), Model()
        for batch in map(as_written, count(), batches):
            store: Store = memory if kind == "memory" else SqliteStore(path)
            now = datetime(2026, 1, 1, tzinfo=UTC)
            fence = store.acquire("apply", "us", timedelta(seconds=15), now)
            assert fence is not None
            store.record(batch, fence)
            model.record(batch)
            check(store, model)
            store.close()
