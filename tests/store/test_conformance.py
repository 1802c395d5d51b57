"""The conformance suite on every store."""

from __future__ import annotations

from pathlib import Path

import pytest

from ctrlplane_gitops.store.base import Store
from ctrlplane_gitops.store.conformance import StoreConformance
from ctrlplane_gitops.store.conformance_health import HealthClaims
from ctrlplane_gitops.store.memory import MemoryStore
from ctrlplane_gitops.store.sqlite import SqliteStore


class TestSqlite(StoreConformance, HealthClaims):
    def open_store(self, root: Path) -> Store:
        return SqliteStore(root / "state.db")


class TestMemory(StoreConformance, HealthClaims):
    @pytest.fixture(autouse=True)
    def one_store(self) -> None:
        self.store_in_memory = MemoryStore()

    def open_store(self, root: Path) -> Store:
        return self.store_in_memory
