"""What every source must do; run it from the tests of a new one."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ctrlplane_gitops.errors import SourceError
from ctrlplane_gitops.source.base import Snapshot, Source
from ctrlplane_gitops.source.tree import MAX_FILE_BYTES, blob_id

MakeSource = Callable[[Mapping[str, bytes], Mapping[str, str]], Source]
"""``make(files, links)``: a source of exactly these files (path: contents) and symlinks
(path: target). It may be called several times; each call is a new, independent source."""

_FILES = {
    "ctrlplane.yaml": b"kind: ControlPlane\n",
    "tenants/acme/web.yaml": b"kind: Instance\n",
    "tenants/acme/copy.yaml": b"kind: Instance\n",
    "tenants/\u00fcber caf\u00e9.yaml": b"crlf\r\nand \x00 and \xff bytes",
    "empty.yaml": b"",
}


def check_source(make: MakeSource) -> None:
    """AssertionError when a promise is broken."""
    _check_contents(make)
    _check_hidden_folders(make)
    _check_links(make)
    _check_size(make)
    _check_strange_blob(make)
    assert dict(make({"a.txt": b"a"}, {}).fetch().entries) == {"a.txt": blob_id(b"a")}


def _check_contents(make: MakeSource) -> None:
    source = make(_FILES, {})
    snapshot = source.fetch()
    expected = {path: blob_id(content) for path, content in _FILES.items()}
    assert dict(snapshot.entries) == expected, "every file, by Git's id of its bytes"
    assert snapshot.problems == (), "nothing to complain about"
    contents = snapshot.read(list(snapshot.entries.values()))
    assert contents == {blob_id(content): content for content in _FILES.values()}, "exact bytes"
    assert snapshot.read([]) == {}, "asked for nothing, got nothing"
    again = source.fetch()
    assert _facts(again) == _facts(snapshot), "nothing changed, so nothing differs"


def _facts(snapshot: Snapshot) -> tuple[object, ...]:
    return dict(snapshot.entries), snapshot.commit, snapshot.ref, snapshot.is_dirty


def _check_hidden_folders(make: MakeSource) -> None:
    files = {".github/workflow.yaml": b"1", "a/.cache/x/y": b"2", "a/.dot.yaml": b"3", "b": b"4"}
    assert sorted(make(files, {}).fetch().entries) == ["a/.dot.yaml", "b"], "no hidden folders"


def _check_links(make: MakeSource) -> None:
    links = {"passwd.yaml": "/etc/passwd", "a/loop": ".", "gone.yaml": "nowhere"}
    snapshot = make({"a/real.yaml": b"x"}, links).fetch()
    assert sorted(snapshot.entries) == ["a/real.yaml"], "links are not followed"
    refused = {str(item.origin): item.code for item in snapshot.problems if item.is_error}
    assert refused == dict.fromkeys(links, "symlink"), "every link is an error with its place"


def _check_size(make: MakeSource) -> None:
    limit = b"x" * MAX_FILE_BYTES
    snapshot = make({"just.bin": limit, "over.bin": limit + b"x", "a": b"a"}, {}).fetch()
    assert sorted(snapshot.entries) == ["a", "just.bin"], "a file above the limit is left out"
    assert [item.code for item in snapshot.problems] == ["file-too-large"], "and said so"


def _check_strange_blob(make: MakeSource) -> None:
    snapshot = make({"a": b"a"}, {}).fetch()
    try:
        snapshot.read([blob_id(b"somewhere else")])
    except SourceError:
        return
    raise AssertionError("only blobs of the snapshot can be read")
