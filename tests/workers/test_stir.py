"""When somebody is looked at because of what changed by itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from ctrlplane_gitops.state.key import instance_key
from ctrlplane_gitops.workers.stir import Stir

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WEB, DB = instance_key("acme", "web"), instance_key("acme", "db")


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def test_what_changes_in_several_parts_is_looked_at_once() -> None:
    stir = Stir()
    assert stir.add([WEB], NOW)
    assert not stir.add([WEB], at(1))
    assert stir.take(at(1.9)) == frozenset()
    assert stir.next_at == at(2)
    assert stir.take(at(2)) == {WEB}
    assert stir.next_at is None and stir.take(at(3)) == frozenset()


def test_whose_time_is_near_comes_along_and_others_wait() -> None:
    stir = Stir()
    stir.add([WEB], NOW)
    stir.add([DB], at(0.4))
    assert stir.take(at(2)) == {WEB, DB}
    stir.add([WEB], at(20))
    stir.add([DB], at(21))
    assert stir.take(at(22)) == {WEB}
    assert stir.take(at(23)) == {DB}


def test_what_changes_all_the_time_is_looked_at_from_time_to_time() -> None:
    stir, looks = Stir(), 0
    for tenth in range(600):
        stir.add([WEB], at(tenth / 10))
        looks += bool(stir.take(at(tenth / 10)))
    assert looks == 6


def test_who_was_quiet_for_long_is_not_kept_in_mind() -> None:
    stir = Stir()
    stir.add([WEB], NOW)
    stir.take(at(2))
    stir.add([DB], at(60))
    stir.take(at(62))
    assert set(stir.looked) == {DB}
