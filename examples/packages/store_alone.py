"""store alone: a lease, what is written under it, and what is refused without."""

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ctrlplane_gitops.errors import LockError
from ctrlplane_gitops.state.key import instance_key
from ctrlplane_gitops.state.recorded import RecordBatch, RecordedInstance
from ctrlplane_gitops.store.registry import open_store

now = datetime(2026, 1, 1, tzinfo=UTC)
with tempfile.TemporaryDirectory() as scratch:
    store = open_store(str(Path(scratch) / "state.db"))
    first = store.acquire("apply", "me", timedelta(seconds=15), now)
    assert first is not None
    key = instance_key("acme", "web")
    batch = RecordBatch(plane_id="prod", instances=(RecordedInstance(key, "local", release=1),))
    store.record(batch, first)
    print(store.load_state().instances[key])
    # Whoever takes it over once it has expired shuts out the one who had it.
    second = store.acquire("apply", "you", timedelta(seconds=15), now + timedelta(minutes=1))
    assert second is not None and second.number > first.number
    try:
        store.record(batch, first)
    except LockError as error:
        print(f"refused: {error.message}")
    else:
        raise AssertionError("a lost lease still writes")
    store.close()
