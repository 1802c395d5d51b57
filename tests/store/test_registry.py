"""Where a store is, by setting and by spec, and what it is made with."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import sqlite_utils

from ctrlplane_gitops.config import Settings, store_location
from ctrlplane_gitops.errors import CapabilityError, UsageError
from ctrlplane_gitops.state.recorded import RecordBatch
from ctrlplane_gitops.store.connection import SCHEMA_VERSION
from ctrlplane_gitops.store.memory import MemoryStore
from ctrlplane_gitops.store.migrations import migrations
from ctrlplane_gitops.store.registry import open_store
from ctrlplane_gitops.store.sqlite import SqliteStore
from tests.store.sqlite_kit import fence_of, make_store, read_state


@pytest.mark.parametrize("form", ["{}", "sqlite://{}"])
def test_a_path_and_a_sqlite_url_open_the_file(tmp_path: Path, form: str) -> None:
    path = tmp_path / "any where" / "state.db"
    store = open_store(form.format(path))
    assert isinstance(store, SqliteStore)
    store.record(RecordBatch(plane_id="pla_1"), fence_of(store))
    store.close()
    assert read_state(path).plane_id == "pla_1"
    reader = open_store(form.format(path), is_read_only=True)
    assert reader.load_state().plane_id == "pla_1"
    reader.close()


def test_memory_opens_a_store_of_its_own_each_time() -> None:
    first, second = open_store("memory:"), open_store("memory:")
    assert isinstance(first, MemoryStore) and first is not second


@pytest.mark.parametrize("scheme", ["postgres", "postgresql"])
def test_postgres_is_refused_without_showing_the_password(scheme: str) -> None:
    with pytest.raises(CapabilityError, match="PostgreSQL") as caught:
        open_store(f"{scheme}://me:hunter22@db.example/state")
    assert caught.value.hint == "use a path, sqlite:///path or memory:"
    assert "hunter22" not in f"{caught.value.message} {caught.value.hint}"


@pytest.mark.parametrize(
    ("location", "cause"),
    [
        ("mysql://me:hunter22@db.example/state", "no store of kind 'mysql'"),
        ("state.db", "'state.db' is not absolute"),
        ("sqlite://state.db", "'state.db' is not absolute"),
        ("", "is not absolute"),
    ],
)
def test_any_other_location_is_wrong_usage(location: str, cause: str) -> None:
    with pytest.raises(UsageError, match=cause) as caught:
        open_store(location)
    assert caught.value.hint == "use a path, sqlite:///path or memory:"
    assert "hunter22" not in caught.value.message


@pytest.mark.parametrize(
    ("setting", "spec", "expected"),
    [
        (None, None, "/state/prod/state.db"),
        (None, "other.db", "/state/prod/other.db"),
        (None, "/srv/s.db", "/srv/s.db"),
        (None, "sqlite:///srv/s.db", "sqlite:///srv/s.db"),
        ("memory:", "/srv/s.db", "memory:"),
        ("mine.db", "/srv/s.db", "/state/prod/mine.db"),
    ],
)
def test_the_setting_wins_over_the_spec_and_paths_are_below_the_plane(
    setting: str | None, spec: str | None, expected: str
) -> None:
    settings = Settings(Path("/state"), Path("/cache"), store=setting)
    assert store_location(settings, "prod", spec) == expected


def test_the_tables_are_made_by_migrations_that_are_written_down(tmp_path: Path) -> None:
    make_store(tmp_path / "state.db")
    database = sqlite_utils.Database(tmp_path / "state.db")
    names = [item.name for item in migrations.applied(database)]
    later = ["create_orders", "create_deliveries", "create_outbox", "create_health"]
    assert names == ["create_tables", *later]
    assert migrations.pending(database) == []
    # Raised together: an up-to-date file is recognised by the version alone.
    assert len(migrations.applied(database)) == SCHEMA_VERSION
    assert database.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
    database.close()


def test_a_store_that_is_up_to_date_is_opened_without_the_migrations(tmp_path: Path) -> None:
    make_store(tmp_path / "state.db")
    script = (
        "import sys\n"
        "from ctrlplane_gitops.store.registry import open_store\n"
        "open_store(sys.argv[1]).close()\n"
        "print('sqlite_utils' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "state.db")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "False\n"


def test_a_store_of_the_version_before_is_read_as_it_is_and_brought_up_to_date(
    tmp_path: Path,
) -> None:
    path = tmp_path / "state.db"
    make_store(path)
    with closing(sqlite3.connect(path)) as old:
        old.execute("DROP TABLE orders")
        old.execute("DELETE FROM _sqlite_migrations WHERE name = 'create_orders'")
        old.execute("PRAGMA user_version = 1")
        old.commit()
    with closing(open_store(str(path), is_read_only=True)) as store:
        assert store.read_orders() == {} == store.load_state().orders
    with closing(open_store(str(path))) as store:
        assert store.read_orders() == {}
    with closing(sqlite3.connect(path)) as new:
        assert new.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
        assert new.execute("SELECT count(*) FROM orders").fetchone() == (0,)
