from __future__ import annotations

import stat
import sys
from pathlib import Path

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


def write_sound(path: Path, version: str = "1") -> bytes:
    ParseCache(path, version).save({"a": [1]}, keep=["a"])
    return path.read_bytes()


def test_a_damaged_cache_is_empty_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "parse.json"
    sound = write_sound(path)
    damaged = [sound[:end] for end in range(len(sound))]
    damaged += [sound[:at] + bytes([sound[at] ^ 1]) + sound[at + 1 :] for at in range(len(sound))]
    for content in [*damaged, b"\n", b"{", b"\xff\xfe", b"[" * 100_000, sound + b"x"]:
        path.write_bytes(content)
        cache = ParseCache(path, "1")
        assert cache.load(["a"]) == {}
        assert cache.save({"a": [2]}, keep=["a"])
        assert ParseCache(path, "1").load(["a"]) == {"a": [2]}


def test_a_cache_of_another_version_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "parse.json"
    write_sound(path, "2")
    assert ParseCache(path, "1").load(["a"]) == {}
    path.write_bytes(write_sound(path).replace(sys.implementation.cache_tag.encode(), b"other-1"))
    assert ParseCache(path, "1").load(["a"]) == {}


def test_a_cache_others_may_write_is_not_trusted(tmp_path: Path) -> None:
    path = tmp_path / "parse.json"
    ParseCache(path, "1").save({"a": [1]}, keep=["a"])
    path.chmod(0o666)
    assert ParseCache(path, "1").load(["a"]) == {}


def test_a_place_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert not ParseCache(tmp_path / "file" / "parse.json", "1").save({"a": [1]}, keep=["a"])
