"""A store of each kind, and somebody who is told, on a clock that only moves when it is told to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ctrlplane_gitops.clock import FakeClock
from ctrlplane_gitops.store.base import Store
from ctrlplane_gitops.store.memory import MemoryStore
from ctrlplane_gitops.store.sqlite import SqliteStore
from tests.http.receiver import Receiver, receiving
from tests.workers.notifier_kit import START


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(START)


@pytest.fixture
def receiver(clock: FakeClock) -> Iterator[Receiver]:
    with receiving(clock.now) as running:
        yield running
        assert running.forged == 0


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    opened = MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "state.db")
    yield opened
    opened.close()
