"""Where the contents for a replica come from, and what is said when one is gone."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import pytest

from ctrlplane_gitops.errors import ProviderError, SourceError
from ctrlplane_gitops.execute.material import Materials
from ctrlplane_gitops.redact import SecretValue
from ctrlplane_gitops.state.key import Kind, ResourceKey
from ctrlplane_gitops.state.template import FileMount, ReleaseTemplate, SecretMount, SecretType
from ctrlplane_gitops.store.conformance_kit import make_release

TOKEN = ResourceKey(Kind.SECRET, "acme", "token")


def release_of(*digests: str, is_secret: bool = False):
    files = tuple(FileMount(f"/etc/{digest}", digest) for digest in digests)
    secrets = (SecretMount(TOKEN, SecretType.ENV, "TOKEN", "d"),) if is_secret else ()
    return replace(make_release(2), template=ReleaseTemplate("a", files=files, secrets=secrets))


class Snapshot:
    """Blobs that can be read; ``batches`` are the calls."""

    def __init__(self, **blobs: bytes) -> None:
        self.blobs = blobs
        self.batches: list[list[str]] = []

    def read(self, digests: Collection[str]) -> Mapping[str, bytes]:
        self.batches.append(list(digests))
        return {digest: self.blobs[digest] for digest in digests}


def test_contents_come_from_git_first_and_from_the_store_for_what_it_dropped() -> None:
    snapshot = Snapshot(aa=b"a", bb=b"b")
    asked: list[str] = []

    def read_stored(digest: str) -> bytes | None:
        asked.append(digest)
        return b"old" if digest == "old" else None

    materials = Materials({"in": b"inline"}, snapshot.blobs, snapshot.read, read_stored, {})
    wanted = [release_of("bb", "in"), release_of("aa", "bb", "old")]
    materials.load(wanted)
    assert materials.contents_of(wanted[0]) == {"bb": b"b", "in": b"inline"}
    assert materials.for_release(wanted[1]).files == {"aa": b"a", "bb": b"b", "old": b"old"}
    assert (snapshot.batches, asked) == ([["aa", "bb"]], ["old"])
    materials.load(wanted)
    assert (snapshot.batches, asked) == ([["aa", "bb"]], ["old"])


def test_a_content_that_is_gone_is_named_with_its_release() -> None:
    materials = Materials({}, (), lambda digests: {}, lambda digest: None, {})
    release = release_of("gone")
    materials.load([release])
    with pytest.raises(ProviderError, match="/etc/gone as of v2 is not kept any more") as caught:
        materials.for_release(release)
    assert caught.value.hint is not None and not caught.value.is_retryable


def test_a_secret_without_a_value_is_named_and_never_shown() -> None:
    value = SecretValue(b"hunter22")
    release = release_of(is_secret=True)
    have = Materials({}, (), lambda digests: {}, lambda digest: None, {TOKEN: value})
    assert have.for_release(release).secrets == {TOKEN: value}
    assert "hunter22" not in repr(have.for_release(release))
    lack = Materials({}, (), lambda digests: {}, lambda digest: None, {})
    with pytest.raises(ProviderError, match="secret/acme/token of v2 has no value any more"):
        lack.for_release(release)


def test_a_snapshot_that_cannot_be_read_ends_the_load() -> None:
    def fail(digests: Collection[str]) -> Mapping[str, bytes]:
        raise SourceError("the repository is gone")

    materials = Materials({}, {"aa"}, fail, lambda digest: None, {})
    with pytest.raises(SourceError):
        materials.load([release_of("aa")])
