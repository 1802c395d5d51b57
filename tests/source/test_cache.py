from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from ctrlplane_gitops.source.cache import ParseCache


def test_what_was_saved_is_loaded_by_another(tmp_path: Path) -> None:
    path = tmp_path / "state" / "parse.json"
    assert ParseCache(path, "1").save({"a": [1, {"x": None}], "b": []}, keep=["a", "b"])
    assert ParseCache(path, "1").load(["a", "b", "c"]) == {"a": [1, {"x": None}], "b": []}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [item.name for item in path.parent.iterdir()] == ["parse.json"]


def test_what_is_not_in_use_goes(tmp_path: Path) -> None:
    path = tmp_path / "parse.json"
    ParseCache(path, "1").save({"a": [1], "b": [2]}, keep=[])
    ParseCache(path, "1").save({"c": [3]}, keep=["b", "c"])
    assert ParseCache(path, "1").load(["a", "b", "c"]) == {"b": [2], "c": [3]}


def test_nothing_new_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "parse.json"
    cache = ParseCache(path, "1")
    cache.save({"a": [1]}, keep=["a"])
    assert not cache.save({}, keep=["a"])
    assert not cache.save({"a": [1]}, keep=["a"])


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b'{"version": "1"}', b'{"version": "1", "entries": []}',
     b'{"version": "1", "entries": {"a": 5}}', b"[" * 100_000, b"\xff\xfe",
     json.dumps({"version": "2", "entries": {"a": [1]}}).encode()],
)  # fmt: skip
def test_a_damaged_or_foreign_cache_is_empty_and_replaced(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "parse.json"
    path.write_bytes(content)
    path.chmod(0o600)
    cache = ParseCache(path, "1")
    assert cache.load(["a"]) == {}
    assert cache.save({"a": [2]}, keep=["a"])
    assert ParseCache(path, "1").load(["a"]) == {"a": [2]}


def test_a_cache_others_may_write_is_not_trusted(tmp_path: Path) -> None:
    path = tmp_path / "parse.json"
    ParseCache(path, "1").save({"a": [1]}, keep=["a"])
    path.chmod(0o666)
    assert ParseCache(path, "1").load(["a"]) == {}


def test_a_place_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert not ParseCache(tmp_path / "file" / "parse.json", "1").save({"a": [1]}, keep=["a"])
