"""Records as rows: writing a batch, loading a state."""

from __future__ import annotations

import marshal
import sqlite3
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import groupby
from typing import TYPE_CHECKING, Any

from ctrlplane_gitops.state.desired import DesiredResource
from ctrlplane_gitops.state.key import Kind, ResourceKey
from ctrlplane_gitops.state.recorded import Order, RecordBatch, RecordedResource, RecordedState
from ctrlplane_gitops.state.template import Release
from ctrlplane_gitops.store.codec import (
    decode_instance,
    decode_release,
    encode_release,
    encode_rollout,
    encode_time,
)

if TYPE_CHECKING:
    from ctrlplane_gitops.state.log import LoggedEvent

_KINDS = {kind.value: kind for kind in Kind}
_NOTHING: Mapping[ResourceKey, DesiredResource] = {}
# Of zlib's levels; the others take longer and give little more.
_QUICKLY = 1


class LazyReleases(Mapping[ResourceKey, tuple[Release, ...]]):
    """Releases by instance, packed: a plan without changes asks for none of them, and rows would
    take ten times the space. Whoever asks has those of the same tenant at hand next. Several
    threads may ask."""

    def __init__(self, rows: Iterable[tuple[Any, ...]]) -> None:
        """Rows of ``_RELEASES``, in their order."""
        self._names: dict[str, tuple[str, ...]] = {}
        self._packed: dict[str, bytes] = {}
        self._last: tuple[str, dict[str, list[tuple[Any, ...]]]] = ("", {})
        for tenant, group in groupby(rows, lambda row: row[0]):
            found: dict[str, list[tuple[Any, ...]]] = {}
            for row in group:
                found.setdefault(row[1], []).append(row[2:])
            self._names[tenant] = tuple(found)
            self._packed[tenant] = zlib.compress(marshal.dumps(found), _QUICKLY)

    def __getitem__(self, key: ResourceKey) -> tuple[Release, ...]:
        rows = self._unpack(key.tenant).get(key.name) if key.kind is Kind.INSTANCE else None
        if rows is None:
            raise KeyError(key)
        return tuple([decode_release(key, row) for row in rows])

    def __iter__(self) -> Iterator[ResourceKey]:
        for tenant, names in self._names.items():
            yield from (ResourceKey(Kind.INSTANCE, tenant, name) for name in names)

    def __len__(self) -> int:
        return sum(map(len, self._names.values()))

    def _unpack(self, tenant: str) -> dict[str, list[tuple[Any, ...]]]:
        known, found = self._last
        if known != tenant:
            packed = self._packed.get(tenant)
            found = {} if packed is None else marshal.loads(zlib.decompress(packed))
            self._last = (tenant, found)
        return found


def load_state(
    connection: sqlite3.Connection,
    tenants: Collection[str] | None = None,
    known: Mapping[ResourceKey, DesiredResource] = _NOTHING,
) -> RecordedState:
    """Everything recorded, or what belongs to these tenants, as of one moment. What is equal to
    what is ``known`` shares its parts."""
    connection.execute("BEGIN")
    try:
        plane = connection.execute("SELECT plane_id FROM plane").fetchone()
        resources = _load_resources(connection, tenants, known)
        instances = {}
        for row in _select(connection, _INSTANCES, tenants):
            key = ResourceKey(Kind.INSTANCE, row[0], row[1])
            resource = resources.get(key)
            key = key if resource is None else resource.key
            instances[key] = decode_instance(key, row[2:])
        releases = LazyReleases(_select(connection, _RELEASES, tenants))
        orders = load_orders(connection, tenants)
    finally:
        connection.execute("COMMIT")
    return RecordedState(plane[0] if plane else None, resources, instances, releases, orders)


def _load_resources(
    connection: sqlite3.Connection,
    tenants: Collection[str] | None,
    known: Mapping[ResourceKey, DesiredResource],
) -> dict[ResourceKey, RecordedResource]:
    found: dict[ResourceKey, RecordedResource] = {}
    same: dict[str, str] = {}
    for row in _select(connection, _KNOWN_RESOURCES if known else _RESOURCES, tenants):
        kind, tenant, name, fingerprint, protected, path, commit, text = row
        key = ResourceKey(_KINDS[kind], tenant, name)
        commit = same.setdefault(commit, commit)
        wanted = known.get(key)
        if wanted is not None and wanted.fingerprint == fingerprint:
            # Most are: their texts are not even read.
            key, text, fingerprint = wanted.key, wanted.text, wanted.fingerprint
            path = wanted.origin.path if path == wanted.origin.path else path
        elif text is None:
            text = connection.execute(_ATTRIBUTES, (kind, tenant, name)).fetchone()[0]
        found[key] = RecordedResource(key, fingerprint, text, bool(protected), path, commit)
    return found


def load_orders(
    connection: sqlite3.Connection, tenants: Collection[str] | None = None
) -> dict[ResourceKey, Order]:
    """What is asked of rollouts. A file that an older program wrote and nobody has opened for
    writing since has no such table."""
    if not connection.execute(_HAS_ORDERS).fetchone():
        return {}
    found = {}
    for row in _select(connection, _ORDERS, tenants):
        tenant, name, target, is_paused, is_aborted, is_full, promoted = row
        key = ResourceKey(Kind.INSTANCE, tenant, name)
        found[key] = Order(key, target, bool(is_paused), bool(is_aborted), bool(is_full), promoted)
    return found


def write_order(connection: sqlite3.Connection, order: Order) -> None:
    """Inside the caller's transaction."""
    connection.execute(
        "INSERT OR REPLACE INTO orders VALUES (?, ?, ?, ?, ?, ?, ?)",
        (order.instance.tenant, order.instance.name, order.target, int(order.is_paused),
         int(order.is_aborted), int(order.is_full), order.promoted),
    )  # fmt: skip


_RESOURCES = (
    "SELECT kind, tenant, name, fingerprint, is_protected, path, commit_id, attributes "
    "FROM resources {where}"
)
_KNOWN_RESOURCES = _RESOURCES.replace(" attributes ", " NULL ")
_ATTRIBUTES = "SELECT attributes FROM resources WHERE kind = ? AND tenant = ? AND name = ?"
_INSTANCES = "SELECT tenant, name, provider, release, pin, rollout FROM instances {where}"
_RELEASES = (
    "SELECT tenant, name, number, revision, template, commit_id, created_at, state, reason, "
    "resolved FROM releases {where} ORDER BY tenant, name, number"
)
_ORDERS = (
    "SELECT tenant, name, target, is_paused, is_aborted, is_full, promoted FROM orders {where}"
)
_HAS_ORDERS = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'orders'"
# The primary key of resources begins with the kind: without it every row would be looked at.
_ANY_KIND = f"kind IN ({', '.join(repr(kind) for kind in _KINDS)}) AND "


def _select(
    connection: sqlite3.Connection, query: str, tenants: Collection[str] | None
) -> sqlite3.Cursor:
    if tenants is None:
        return connection.execute(query.format(where=""))
    asked = ["", *tenants]
    kind = _ANY_KIND if query in (_RESOURCES, _KNOWN_RESOURCES) else ""
    where = f"WHERE {kind}tenant IN ({', '.join('?' * len(asked))})"
    return connection.execute(query.format(where=where), asked)


def write_batch(connection: sqlite3.Connection, batch: RecordBatch) -> tuple[LoggedEvent, ...]:
    """Puts and removals, inside the caller's transaction; the events with their numbers."""
    many = connection.executemany
    if batch.plane_id is not None:
        connection.execute(
            "INSERT INTO plane VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET plane_id = "
            "excluded.plane_id",
            (batch.plane_id,),
        )
    many(
        "INSERT OR REPLACE INTO resources VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (item.key.kind.value, item.key.tenant, item.key.name, item.fingerprint,
             item.attributes_json, int(item.is_protected), item.path, item.commit)
            for item in batch.resources
        ],
    )  # fmt: skip
    many(
        "INSERT OR REPLACE INTO instances VALUES (?, ?, ?, ?, ?, ?)",
        [
            (item.key.tenant, item.key.name, item.provider, item.release, item.pin,
             encode_rollout(item.rollout))
            for item in batch.instances
        ],
    )  # fmt: skip
    many(
        "INSERT OR REPLACE INTO releases VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [encode_release(item) for item in batch.releases],
    )
    many("INSERT OR IGNORE INTO blobs VALUES (?, ?)", list(batch.blobs.items()))
    _write_removals(connection, batch)
    return write_history(connection, batch)


def _write_removals(connection: sqlite3.Connection, batch: RecordBatch) -> None:
    many = connection.executemany
    many(
        "DELETE FROM resources WHERE kind = ? AND tenant = ? AND name = ?",
        [(key.kind.value, key.tenant, key.name) for key in batch.removed_resources],
    )
    many(
        "DELETE FROM instances WHERE tenant = ? AND name = ?",
        [(key.tenant, key.name) for key in batch.removed_instances],
    )
    many(
        "DELETE FROM releases WHERE tenant = ? AND name = ? AND number = ?",
        [(key.tenant, key.name, number) for key, number in batch.removed_releases],
    )
    many(
        "DELETE FROM orders WHERE tenant = ? AND name = ?",
        [(key.tenant, key.name) for key in batch.removed_orders],
    )


def write_history(connection: sqlite3.Connection, batch: RecordBatch) -> tuple[LoggedEvent, ...]:
    """Intents, events and audit, inside the caller's transaction; the events with their numbers."""
    many = connection.executemany
    many(
        "INSERT OR REPLACE INTO open_intents VALUES (?, ?, ?, ?)",
        [
            (item.id, encode_time(item.at), item.address, item.action)
            for item in batch.intents
            if item.closed_at is None
        ],
    )
    closed = [(item, item.closed_at) for item in batch.intents if item.closed_at is not None]
    many("DELETE FROM open_intents WHERE id = ?", [(item.id,) for item, _ in closed])
    many(
        "INSERT INTO closed_intents VALUES (NULL, ?, ?, ?, ?, ?, ?)",
        [
            (item.id, encode_time(item.at), item.address, item.action, encode_time(at),
             item.outcome)
            for item, at in closed
        ],
    )  # fmt: skip
    many(
        "INSERT INTO audit VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)",
        [
            (item.id, encode_time(item.at), item.actor, item.action, item.address, item.commit,
             item.outcome)
            for item in batch.audit
        ],
    )  # fmt: skip
    if not batch.events:
        return ()
    from ctrlplane_gitops.store.history import append_events

    return append_events(connection, batch.events)
