"""An engine is started once for all, and is there for as long as anybody uses it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.engines.program import MissingEngineError
from tests.engines.shared import shared

USERS = 6


def test_the_first_starts_it_and_ends_it_when_the_last_has_left(tmp_path: Path) -> None:
    told: list[str] = []
    are_all_there = threading.Barrier(USERS)

    @contextmanager
    def start() -> Iterator[str]:
        told.append("start")
        yield "somewhere"
        told.append("end")

    def use() -> None:
        with shared(tmp_path / "engine", start) as address:
            are_all_there.wait(30)
            told.append(address)

    for _ in range(2):
        told.clear()
        with ThreadPoolExecutor(USERS) as pool:
            for user in [pool.submit(use) for _ in range(USERS)]:
                user.result()
        assert told == ["start", *["somewhere"] * USERS, "end"]


def test_what_cannot_be_started_is_tried_by_the_next(tmp_path: Path) -> None:
    told: list[str] = []

    @contextmanager
    def start() -> Iterator[str]:
        told.append("start")
        raise MissingEngineError("it is not installed")
        yield ""

    for _ in range(2):
        with pytest.raises(MissingEngineError), shared(tmp_path / "engine", start):
            pass
    assert told == ["start", "start"]
