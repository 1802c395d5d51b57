"""What the store conformance suite is written with: its hook, full records, and its verbs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ctrlplane_gitops.state.key import Kind, ResourceKey, instance_key, tenant_key
from ctrlplane_gitops.state.log import Page
from ctrlplane_gitops.state.recorded import (
    AuditEntry,
    Event,
    Intent,
    RecordBatch,
    RecordedInstance,
    RecordedResource,
    RecordedState,
    RolloutPhase,
    RolloutStatus,
)
from ctrlplane_gitops.state.template import (
    FileMount,
    Port,
    Release,
    ReleaseState,
    ReleaseTemplate,
    SecretMount,
    SecretType,
    Volume,
)
from ctrlplane_gitops.store.base import Fence, Store

# Microseconds that rounding to milliseconds would change.
NOW = datetime(2026, 3, 1, 12, 30, 45, 123456, tzinfo=UTC)
SECOND = timedelta(seconds=1)
TTL = timedelta(seconds=15)
TEXT = "über 'café' \"\\ 100% _ \N{ROCKET}\n\ttwo lines"
WEB = instance_key("acme", "web")
DB = instance_key("acme", "db")

FULL_TEMPLATE = ReleaseTemplate(
    provider="docker",
    image="shop:1.4.2",
    command=("serve", "--name", TEXT, ""),
    env={"B": TEXT, "A": "", "C": "1"},
    ports=(Port("http", 8080), Port("admin", 81)),
    volumes=(Volume("data", "/var/lib/app", 2**40), Volume("tmp", "/tmp")),
    files=(FileMount("/etc/a", "aa", 0o600), FileMount("/etc/b", "bb")),
    secrets=tuple(
        SecretMount(ResourceKey(Kind.SECRET, "acme", type.value), type, f"to {type}", "d1")
        for type in SecretType
    ),
)
FULL_RELEASE = Release(
    WEB,
    number=12,
    revision="rev12",
    template=FULL_TEMPLATE,
    commit="c0ffee",
    created_at=NOW,
    state=ReleaseState.FAILED,
    reason=TEXT,
    resolved={"image": "shop@sha256:1234"},
)
FULL_STATUS = RolloutStatus(
    RolloutPhase.ROLLING_BACK,
    target=12,
    previous=11,
    started_at=NOW,
    progress_at=NOW + SECOND,
    best_available=3,
    message=TEXT,
    step=2,
    step_at=NOW + 2 * SECOND,
    replicas=6,
)
FULL_INSTANCE = RecordedInstance(WEB, "docker", release=11, pin=4, rollout=FULL_STATUS)
FULL_RESOURCE = RecordedResource(
    WEB, "f1", '{"env":{"A":"ü"},"replicas":3}', True, "tenants/über acme.yaml", "c0ffee"
)
FULL_EVENT = Event("evt_2", NOW, "rollout.failed", WEB.address, TEXT, {"code": "x", "a": TEXT})
FULL_AUDIT = AuditEntry("aud_2", NOW, "user:ü", "update", WEB.address, "c0ffee", TEXT)
FULL_INTENT = Intent("int_2", NOW, WEB.address, "scale v1 to 2", NOW + SECOND, TEXT)
FULL_BATCH = RecordBatch(
    plane_id="pla_1",
    resources=(FULL_RESOURCE,),
    removed_resources=(tenant_key("gone"),),
    instances=(FULL_INSTANCE,),
    removed_instances=(instance_key("acme", "gone"),),
    releases=(FULL_RELEASE,),
    removed_releases=((WEB, 1),),
    removed_orders=(WEB,),
    blobs={"aa": bytes(range(256)), "bb": b""},
    intents=(FULL_INTENT,),
    events=(FULL_EVENT,),
    audit=(FULL_AUDIT,),
)


def find_defaults(value: Any) -> list[str]:
    """The fields of a record, and of the records in it, that have their default: what the store
    drops there would not be noticed.

    >>> find_defaults(Volume("data", "/data"))
    ['Volume.size_bytes']
    """
    found = []
    for field in fields(value):
        item = getattr(value, field.name)
        default = field.default_factory() if field.default_factory is not MISSING else field.default
        if default is not MISSING and item == default:
            found.append(f"{type(value).__name__}.{field.name}")
        first = item[0] if isinstance(item, tuple) and item else item
        if is_dataclass(first):
            found += find_defaults(first)
    return found


def make_release(number: int, instance: ResourceKey = WEB) -> Release:
    """A release of which little is set."""
    return Release(instance, number, f"rev{number}", ReleaseTemplate("local"), "", NOW)


def make_event(number: int, type: str = "apply.started", address: str = "instance/a/b") -> Event:
    """The ``number``-th event; later ones are newer."""
    return Event(f"evt_{number:03d}", NOW + number * SECOND, type, address, f"event {number}")


class StoreKit:
    """The hook, and the verbs the claims are written with."""

    def open_store(self, root: Path) -> Store:
        """A store below ``root``, the test's directory. Each call opens the same one again,
        whether or not those before have been closed."""
        raise AssertionError("a subclass says how its store is opened")

    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        return tmp_path

    @pytest.fixture
    def store(self, root: Path) -> Iterator[Store]:
        store = self.open_store(root)
        yield store
        store.close()

    @pytest.fixture
    def fence(self, store: Store) -> Fence:
        return self.take(store, "us")

    def take(self, store: Store, holder: str, now: datetime = NOW, lease: str = "apply") -> Fence:
        """The lease, which must be free."""
        fence = store.acquire(lease, holder, TTL, now)
        assert fence is not None
        return fence

    def reopen(self, store: Store, root: Path) -> Store:
        """The store as the next process finds it."""
        store.close()
        return self.open_store(root)

    def events(self, store: Store) -> list[Event]:
        """All events, as they were written."""
        rows = store.read_events(page=Page(10_000, is_oldest_first=True))
        return [row.event for row in rows]

    def audit(self, store: Store) -> list[AuditEntry]:
        rows = store.read_audit(page=Page(10_000, is_oldest_first=True))
        return [row.entry for row in rows]

    def contents(self, store: Store) -> tuple[RecordedState, *tuple[object, ...]]:
        """All that can be read, for comparing."""
        return (
            store.load_state(),
            self.events(store),
            self.audit(store),
            list(store.read_open_intents()),
            {digest: store.read_blob(digest) for digest in ("aa", "bb")},
        )
