"""Many new files are parsed by two processes, and it shows nowhere. Run by ``test_reader.py``."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from ctrlplane_gitops.errors import SourceError
from ctrlplane_gitops.reconcile.reader import Reader
from ctrlplane_gitops.source.base import Snapshot
from ctrlplane_gitops.source.cache import ParseCache
from tests.bench.fleet import make_files

_BROKEN = b"apiVersion: ctrlplane.dev/v1\nkind: Tenant\nmetadata: {name: x}\nspec: {nmae: y}\n"

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or len(os.sched_getaffinity(0)) < 2, reason="one processor"
)


class Blobs:
    """Contents by path, which are their own ids; counts what this process reads of them."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = files
        self.read_here = 0
        self._process = os.getpid()

    def read(self, blobs: Collection[str]) -> Mapping[str, bytes]:
        if os.getpid() == self._process:
            self.read_here += len(blobs)
        return {blob: self.files[blob] for blob in blobs}

    @property
    def snapshot(self) -> Snapshot:
        return Snapshot(entries={path: path for path in self.files}, read=self.read)


@pytest.fixture
def blobs() -> Blobs:
    files = make_files(300, "{type: memory}")
    # Neighbours, so that each process has some of them.
    files |= {"tenants/a.yaml": _BROKEN, "tenants/b.yaml": _BROKEN, "tenants/c.yaml": b"[\n"}
    return Blobs(dict(sorted(files.items())))


def test_two_processes_find_what_one_finds(blobs: Blobs) -> None:
    paths = list(blobs.files)
    alone, helped = Reader(blobs.snapshot, None), Reader(blobs.snapshot, None)
    expected = alone.read(paths)
    blobs.read_here = 0
    with helped.helped(paths):
        found = helped.read(paths)
    # A sample, and of all others the files with a problem: that is said here.
    assert 3 < blobs.read_here < len(paths) / 20
    assert found == expected
    assert sorted(map(str, helped.diagnostics)) == sorted(map(str, alone.diagnostics))
    assert (helped.fresh, helped.parsed) == (alone.fresh, alone.parsed)
    assert not {"tenants/a.yaml", "tenants/b.yaml", "tenants/c.yaml"} & set(helped.fresh)


def test_few_new_files_are_parsed_by_one(tmp_path: Path, blobs: Blobs) -> None:
    paths = list(blobs.files)
    cache = ParseCache(tmp_path / "cache.json", "1")
    first = Reader(blobs.snapshot, cache)
    first.read(paths)
    cache.save(first.fresh, paths)
    blobs.read_here = 0
    reader = Reader(blobs.snapshot, cache)
    with reader.helped(paths):
        reader.read(paths)
    assert blobs.read_here == 3


def test_where_the_second_process_fails_the_first_does_its_work(blobs: Blobs) -> None:
    here = os.getpid()

    def read(asked: Collection[str]) -> Mapping[str, bytes]:
        if os.getpid() != here:
            raise SourceError("not here")
        return blobs.read(asked)

    paths = list(blobs.files)
    expected = Reader(blobs.snapshot, None).read(paths)
    reader = Reader(Snapshot(entries={path: path for path in paths}, read=read), None)
    with reader.helped(paths):
        assert reader.read(paths) == expected


class Halting(Reader):
    """Its second process ends after the first part."""

    def _compose_batches(self, paths: Sequence[str]) -> Iterator[bytes]:
        yield next(super()._compose_batches(paths))
        os._exit(1)


def test_what_the_second_process_has_left_is_done_by_the_first(blobs: Blobs) -> None:
    """Files with the same content are all read, whoever comes to them."""
    same = next(text for path, text in blobs.files.items() if path.startswith("tenants/t"))
    paths = [f"x/{number:04}.yaml" for number in range(400)]
    snapshot = Snapshot(dict.fromkeys(paths, "blob"), lambda asked: dict.fromkeys(asked, same))
    expected = Reader(snapshot, None).read(paths)
    reader = Halting(snapshot, None)
    with reader.helped(paths):
        assert reader.read(paths) == expected
    assert {item.path for item in expected} == set(paths)
