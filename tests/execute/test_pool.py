"""Several streams as one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ctrlplane_gitops.errors import ProviderError
from ctrlplane_gitops.execute.pool import merge


def test_streams_are_merged_until_all_have_ended() -> None:
    assert sorted(merge([iter([1, 2]), iter([]), iter([3])])) == [1, 2, 3]
    assert list(merge([])) == []


def test_what_one_stream_raises_is_raised_to_the_reader() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise ProviderError("gone")

    found = []
    with pytest.raises(ProviderError, match="gone"):
        for item in merge([broken()]):
            found.append(item)
    assert found == [1]
