"""What a provider that watches must do, as part of the suite."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ctrlplane_gitops.clock import monotonic_s
from ctrlplane_gitops.providers.base import Provider, Watching
from ctrlplane_gitops.providers.conformance_kit import DB, WEB, ConformanceKit, wait_until
from ctrlplane_gitops.providers.halt import Halt
from ctrlplane_gitops.state.key import ResourceKey

# Of a service that has ten seconds to stop.
_SOON_S = 5.0


class Watched:
    """Its watches, each in a thread of its own. ``told`` is whose change was told of."""

    def __init__(self, provider: Watching) -> None:
        self.told: set[ResourceKey] = set()
        self._halt = Halt()
        self._threads = [
            threading.Thread(target=call, daemon=True)
            for call in provider.watch(self._take, self._halt)
        ]
        for thread in self._threads:
            thread.start()

    def _take(self, keys: Collection[ResourceKey]) -> None:
        self.told.update(keys)

    def end(self) -> float:
        """How many seconds it took."""
        began = monotonic_s()
        self._halt.set()
        for thread in self._threads:
            thread.join(_SOON_S)
            assert not thread.is_alive(), "it goes on watching"
        return monotonic_s() - began


@contextmanager
def watched(provider: Provider) -> Iterator[Watched | None]:
    """Watched during the block, where the provider can be."""
    if not isinstance(provider, Watching):
        yield None
        return
    begun = Watched(provider)
    try:
        yield begun
    finally:
        begun.end()


class WatchClaims(ConformanceKit):
    """With ``is_watched`` all the other claims are made of a provider that is watched as well."""

    is_watched = False

    @pytest.fixture
    def provider(self, root: Path) -> Iterator[Provider]:
        provider = self.make_provider(self.plane, root)
        with watched(provider) if self.is_watched else watched_by_nobody() as self.watch:
            yield provider
            self.clean(provider)
        provider.close()

    def _require(self) -> Watched:
        if self.watch is None:
            pytest.skip("watches nothing")
        return self.watch

    def test_what_others_change_is_told_by_its_instance_and_seen(
        self, provider: Provider, root: Path
    ) -> None:
        watch = self._require()
        # What comes after the first look is told of.
        provider.observe()
        self.scale(provider, self.make_release(instance=WEB), 1)
        self.scale(provider, self.make_release(instance=DB), 1)
        wait_until(lambda: watch.told >= {WEB, DB}, "both to be told of")
        other = self.make_provider(self.plane, root)
        watch.told.clear()
        self.scale(other, self.make_release(instance=DB), 2)
        wait_until(lambda: watch.told == {DB}, "the other one's change to be told of")
        wait_until(lambda: len(self.live(provider, instance=DB)) == 2, "it to be seen")
        watch.told.clear()
        self.kill_replica(provider, self.live(provider)[0])
        wait_until(lambda: WEB in watch.told, "the death to be told of")
        wait_until(lambda: not self.live(provider), "the death to be seen")
        other.close()

    def test_what_was_done_is_seen_by_the_next_look(self, provider: Provider, root: Path) -> None:
        self._require()
        other = self.make_provider(self.plane, root)
        for release, replicas in ((1, 1), (1, 3), (1, 2), (2, 1), (1, 0), (2, 0)):
            self.scale(provider, self.make_release(release), replicas)
            seen, listed = self.sets(provider), self.sets(other)
            assert {number: [x.name for x in item.replicas] for number, item in seen.items()} == {
                number: [x.name for x in item.replicas] for number, item in listed.items()
            }
            assert len(seen[release].replicas if release in seen else ()) == replicas
        other.close()

    def test_a_watch_ends_soon_and_looks_go_on(self, provider: Provider) -> None:
        watch = self._require()
        self.scale(provider, self.make_release(), 1)
        assert watch.end() < _SOON_S
        self.scale(provider, self.make_release(), 2)
        assert len(self.sets(provider)[1].replicas) == 2


@contextmanager
def watched_by_nobody() -> Iterator[Watched | None]:
    yield None
