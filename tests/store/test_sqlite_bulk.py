"""Many rows by one statement hold what they were given."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from ctrlplane_gitops.state.log import EventFilter
from ctrlplane_gitops.store.conformance_kit import make_event
from ctrlplane_gitops.store.sqlite import SqliteStore
from ctrlplane_gitops.value import replace

TEXTS = ("", "null", '"quoted" \\', "é \U0001f600", "[1]", "1", "two\nlines\t", "a\x1bb")


@pytest.mark.parametrize("text", TEXTS)
def test_a_message_is_read_as_it_was_written(tmp_path: Path, text: str) -> None:
    assert read_back(tmp_path, text) == text


def test_a_nul_takes_nothing_with_it(tmp_path: Path) -> None:
    assert read_back(tmp_path, "before\0after") == "before\ufffdafter"


def read_back(root: Path, text: str) -> str:
    with closing(SqliteStore(root / "state.db")) as store:
        store.add_events([replace(make_event(1), message=text), make_event(2)])
        return store.read_events(EventFilter())[-1].event.message
