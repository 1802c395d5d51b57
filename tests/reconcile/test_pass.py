"""One pass: one look per provider, nothing before approval, nothing when nothing changed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from ctrlplane_gitops.errors import GuardError, LockError
from ctrlplane_gitops.execute.lease import LEASE, HeldLease
from ctrlplane_gitops.execute.part import Ending
from ctrlplane_gitops.execute.pool import Pool
from ctrlplane_gitops.reconcile.look import Look
from ctrlplane_gitops.reconcile.observe import observe_all
from ctrlplane_gitops.reconcile.run import Amendment
from ctrlplane_gitops.state.key import instance_key
from ctrlplane_gitops.state.recorded import RecordBatch, RecordedState
from ctrlplane_gitops.store.base import Store
from tests.reconcile.reconcile_kit import Plane, tenant_file

WEB = instance_key("acme", "web")


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[Plane]:
    plane = Plane(tmp_path)
    plane.repo.begin("acme", "globex", "initech")
    yield plane
    plane.close()


def dump(plane: Plane) -> list[str]:
    """All that is written down; leases are who may write, not what."""
    with closing(sqlite3.connect(plane.repo.root / "state.db")) as connection:
        return [line for line in connection.iterdump() if 'INTO "leases"' not in line]


def test_a_pass_without_changes_looks_once_per_provider_and_does_nothing(plane: Plane) -> None:
    plane.run()
    for _ in range(3):
        plane.forget_calls()
        before = dump(plane)
        seen, result = plane.run()
        assert {name: item.looks for name, item in plane.providers.items()} == {
            "docker": [None],
            "local": [None],
        }
        assert plane.performed == 0
        assert (seen.plan.changes, seen.plan.works, result.results) == ((), (), ())
        assert (result.ending, result.effects, seen.wanted.parsed) == (Ending.COMPLETE, 0, 0)
        assert dump(plane) == before


def test_looking_is_one_call_however_many_objects_there_are(plane: Plane) -> None:
    for number in range(30):
        plane.repo.write(f"tenants/t{number}.yaml", tenant_file(f"t{number}", replicas=3))
    plane.run()
    plane.forget_calls()
    observed = observe_all(plane.providers, plane.pools["look"])
    assert [item.looks for item in plane.providers.values()] == [[None], [None]]
    assert len(observed.replica_sets) == 33


def test_looks_are_joined_in_the_order_of_the_names_and_gaps_are_kept(plane: Plane) -> None:
    plane.run()
    plane.providers["docker"].memory.faults.gap = "engine is gone"

    def stumble() -> None:
        raise KeyError("name")

    observed = observe_all(plane.providers, plane.pools["look"])
    assert [(item.provider, item.reason) for item in observed.gaps] == [
        ("docker", "engine is gone")
    ]
    assert len(observed.replica_sets) == 3
    plane.providers["local"].before_look = stumble
    pool = Pool(1, "look")
    observed = observe_all(plane.providers, pool)
    pool.close()
    assert [item.provider for item in observed.gaps] == ["docker", "local"]
    assert observed.replica_sets == ()


def refuse(seen: Look) -> None:
    assert seen.plan.works
    raise GuardError("not approved")


def test_what_is_not_approved_is_neither_written_nor_done(plane: Plane) -> None:
    for _ in range(2):
        before = dump(plane)
        plane.forget_calls()
        with pytest.raises(GuardError):
            plane.run(refuse)
        assert dump(plane) == before
        assert plane.performed == 0 and plane.told == []
        assert plane.store.read_lease(LEASE) is None
    plane.run()
    plane.told.clear()
    plane.repo.write("tenants/acme.yaml", tenant_file("acme", "2"))
    before = dump(plane)
    plane.forget_calls()
    with pytest.raises(GuardError):
        plane.run(refuse)
    assert dump(plane) == before
    assert plane.performed == 0 and plane.told == []


def make_amendment(log: list[str]) -> Amendment:
    def change(recorded: RecordedState) -> RecordedState:
        log.append("change")
        pinned = replace(recorded.instances[WEB], pin=1)
        return replace(recorded, instances={**recorded.instances, WEB: pinned})

    def write(store: Store, held: HeldLease, commit: str) -> None:
        log.append("write")
        known = store.load_state().instances[WEB]
        store.record(RecordBatch(instances=(replace(known, pin=1),)), held.fence)

    return Amendment(change, write)


def test_an_amendment_is_planned_from_but_written_only_once_approved(plane: Plane) -> None:
    plane.run()
    plane.repo.write("tenants/acme.yaml", tenant_file("acme", "2"))
    plane.run()
    log: list[str] = []

    def look_at(seen: Look) -> None:
        log.append("approve")
        assert seen.recorded.instances[WEB].pin == 1
        assert [item.release and item.release.number for item in seen.plan.works] == [1]
        assert plane.store.load_state().instances[WEB].pin is None

    def look_and_refuse(seen: Look) -> None:
        look_at(seen)
        raise GuardError("not approved")

    before = dump(plane)
    with pytest.raises(GuardError):
        plane.run(look_and_refuse, make_amendment(log))
    assert log == ["change", "approve"]
    assert dump(plane) == before
    log.clear()
    plane.run(look_at, make_amendment(log))
    assert log == ["change", "approve", "write"]
    known = plane.store.load_state().instances[WEB]
    assert (known.pin, known.release) == (1, 1)


def test_the_lease_is_held_from_before_the_look_until_the_end(plane: Plane) -> None:
    holders: list[str] = []

    def note(*_: object) -> None:
        known = plane.store.read_lease(LEASE)
        holders.append(known.holder if known else "nobody")

    for provider in plane.providers.values():
        provider.before_look = note
        provider.before = note
    plane.run(note)
    assert len(set(holders)) == 1 and "nobody" not in holders
    assert plane.store.read_lease(LEASE) is None


def test_a_lease_that_is_lost_while_somebody_is_asked_lets_nothing_happen(plane: Plane) -> None:
    def sleep_too_long(seen: Look) -> None:
        known = plane.store.read_lease(LEASE)
        assert known is not None and plane.store.break_lease(LEASE, known.number)

    before = dump(plane)
    with pytest.raises(LockError):
        plane.run(sleep_too_long)
    assert dump(plane) == before
    assert plane.performed == 0


def test_a_pass_that_cannot_look_does_nothing_there(plane: Plane) -> None:
    plane.run()
    plane.repo.write("tenants/acme.yaml", tenant_file("acme", "2"))
    plane.providers["local"].memory.faults.gap = "engine is gone"
    plane.forget_calls()
    seen, result = plane.run()
    assert seen.is_blind
    assert plane.performed == 0 and result.results == ()
    plane.providers["local"].memory.faults.gap = None
    plane.providers["docker"].memory.faults.gap = "engine is gone"
    seen, result = plane.run()
    assert not seen.is_blind
    assert [str(item.state) for item in result.results] == ["done"]
