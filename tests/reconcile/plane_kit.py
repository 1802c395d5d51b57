"""A repository that is followed from pass to pass."""

from __future__ import annotations

import threading
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from ctrlplane_gitops.clock import SystemClock
from ctrlplane_gitops.errors import SourceError
from ctrlplane_gitops.execute.part import ApplyResult
from ctrlplane_gitops.execute.pool import Pool
from ctrlplane_gitops.network.memory import MemoryRouter
from ctrlplane_gitops.plan.change import Policy
from ctrlplane_gitops.providers.memory import MemoryProvider
from ctrlplane_gitops.reconcile.follow import Follower
from ctrlplane_gitops.reconcile.gather import Wanted
from ctrlplane_gitops.reconcile.look import Look
from ctrlplane_gitops.reconcile.run import PassParts, run_pass
from ctrlplane_gitops.secrets.env import EnvBackend
from ctrlplane_gitops.source.base import Snapshot
from ctrlplane_gitops.source.git import GitSource
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.observed import ObservedState
from ctrlplane_gitops.store.sqlite import SqliteStore
from tests.source.repo import ENVIRON, commit, write


class AskedProvider(MemoryProvider):
    """Notes what it is asked about; None is everything."""

    asked: list[frozenset[ResourceKey] | None]

    def observe(self, keys: Collection[ResourceKey] | None = None) -> ObservedState:
        self.asked.append(None if keys is None else frozenset(keys))
        return super().observe(keys)


def quick(text: str) -> bytes:
    return text.replace("image: shop,", "image: shop, strategy: {minReady: 0s},").encode()


class BreakableSource:
    """A repository that cannot be reached while ``is_broken``."""

    def __init__(self, repo: Path) -> None:
        self._git = GitSource(str(repo), "main", Path("/unused"), environ=ENVIRON)
        self.is_broken = False

    def fetch(self) -> Snapshot:
        if self.is_broken:
            raise SourceError("gone")
        return self._git.fetch()


@dataclass
class Plane:
    """A repository, a store and a provider, followed from pass to pass. ``variables`` is where
    secrets come from."""

    repo: Path
    store: SqliteStore
    provider: AskedProvider
    pool: Pool
    router: MemoryRouter | None = None
    source: BreakableSource = field(init=False)
    variables: dict[str, str] = field(default_factory=lambda: {"TOKEN": "one"})
    follower: Follower = field(init=False)

    def __post_init__(self) -> None:
        self.source = BreakableSource(self.repo)
        self.follower = Follower(self.source, None, {"env": EnvBackend(self.variables)})

    def push(self, name: str, text: str | None) -> None:
        path = self.repo / "tenants" / f"{name}.yaml"
        if text is None:
            path.unlink()
        else:
            write(self.repo, {f"tenants/{name}.yaml": quick(text)})
        commit(self.repo)

    def run(self, wanted: Wanted) -> tuple[Look, ApplyResult]:
        assert wanted.desired is not None
        self.provider.asked = []
        parts = PassParts(
            store=self.store,
            providers={"here": self.provider},
            clock=SystemClock(),
            actions=self.pool,
            looks=self.pool,
            probes=self.pool,
            router=self.router,
            cancel=threading.Event(),
            actor="system:test",
            on_event=lambda event: None,
            on_wait=lambda instance, text: None,
        )
        specs = (wanted, wanted.desired)
        done = run_pass(
            specs, lambda: specs, parts, Policy(), lambda seen: None, widen=self.follower.widen
        )
        self.follower.settle(done[0].wanted)
        return done
