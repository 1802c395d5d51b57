"""One look for several who watch: who looks, how old it may be, and what is kept of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ctrlplane_gitops.execute.pool import Pool
from ctrlplane_gitops.providers.counted import CountedProvider
from ctrlplane_gitops.workers.fleet import Fleet, Looks, Seen
from tests.workers.health_kit import DB, SECOND, WEB, World, desire


class Watched:
    """A fleet of two instances, and how often its provider was asked for everything."""

    def __init__(self, root: Path) -> None:
        self.world = World(root, desire(), desire(DB))
        self.pool = Pool(1, "look")
        self.looks = Looks(self.pool, self.world.clock)
        self.calls: list[str] = []

    @property
    def fleet(self) -> Fleet:
        found = self.world.find_fleet()
        assert found is not None
        counted = CountedProvider(self.world.provider, lambda name, call: self.calls.append(call))
        return Fleet(found.desired, {"here": counted}, found.store)

    def look(self) -> Seen:
        """Somebody else's, at everything."""
        return Seen(self.world.clock.now(), self.world.provider.observe())


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    made = Watched(tmp_path)
    yield made
    made.pool.close()


def test_what_somebody_else_has_seen_is_looked_at_by_nobody(watched: Watched) -> None:
    kept = watched.looks.take(watched.look())
    watched.world.clock.advance(4 * SECOND)
    assert watched.looks.read(watched.fleet, 5 * SECOND) is kept
    assert watched.looks.read_soon(watched.fleet, 5 * SECOND) is kept
    assert watched.calls == []


def test_what_is_too_old_is_looked_at_once_and_by_all(watched: Watched) -> None:
    watched.looks.take(watched.look())
    watched.world.clock.advance(5 * SECOND)
    seen = watched.looks.read(watched.fleet, 5 * SECOND)
    assert seen.at == watched.world.clock.now()
    assert watched.looks.read_soon(watched.fleet, SECOND) is seen
    assert watched.calls == ["observe"]


def test_a_look_from_before_a_change_is_good_for_nobody(watched: Watched) -> None:
    early = watched.look()
    watched.looks.take(early)
    watched.world.clock.advance(SECOND)
    watched.world.scale(WEB, 1)
    watched.looks.forget()
    watched.looks.take(early)
    seen = watched.looks.read(watched.fleet, 60 * SECOND)
    assert watched.calls == ["observe"]
    assert [len(item.replicas) for item in seen.observed.replica_sets] == [2, 1]


def test_an_older_look_does_not_take_the_place_of_a_newer_one(watched: Watched) -> None:
    early = watched.look()
    watched.world.clock.advance(SECOND)
    late = watched.looks.take(watched.look())
    assert watched.looks.take(early) is late
    assert watched.looks.read(watched.fleet, SECOND) is late


def test_what_stays_as_it_is_is_there_once_whoever_looked(watched: Watched) -> None:
    first = watched.looks.take(watched.look())
    watched.world.clock.advance(SECOND)
    watched.world.scale(WEB, 1)
    look = watched.look()
    second = watched.looks.take(look)
    assert second.observed == look.observed
    before, after = (
        {item.instance: item for item in seen.observed.replica_sets} for seen in (first, second)
    )
    assert after[DB] is before[DB]
    assert len(before[WEB].replicas) == 2
    assert len(after[WEB].replicas) == 1
