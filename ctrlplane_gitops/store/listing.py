"""Pages of what is recorded: by the primary keys, so that each costs as much as it shows."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from typing import Any

from ctrlplane_gitops.state.key import Kind, ResourceKey
from ctrlplane_gitops.state.recorded import RecordedResource
from ctrlplane_gitops.state.template import Release
from ctrlplane_gitops.store.codec import decode_release


def select_resources(
    connection: sqlite3.Connection,
    kind: Kind,
    tenants: Collection[str] | None,
    after: tuple[str, str] | None,
    limit: int,
) -> list[RecordedResource]:
    conditions, values = ["kind = ?"], [kind.value]
    if after is not None:
        conditions.append("(tenant, name) > (?, ?)")
        values.extend(after)
    _limit_tenants(conditions, values, tenants)
    rows = connection.execute(
        "SELECT tenant, name, fingerprint, attributes, is_protected, path, commit_id "
        f"FROM resources WHERE {' AND '.join(conditions)} ORDER BY tenant, name LIMIT ?",
        [*values, max(limit, 0)],
    )
    return [
        RecordedResource(
            ResourceKey(kind, tenant, name), fingerprint, attributes, bool(protected), path, commit
        )
        for tenant, name, fingerprint, attributes, protected, path, commit in rows
    ]


def select_releases(
    connection: sqlite3.Connection,
    tenants: Collection[str] | None,
    after: tuple[str, str, int] | None,
    limit: int,
    instance: str | None,
) -> list[Release]:
    conditions: list[str] = []
    values: list[Any] = []
    if after is not None:
        conditions.append("(tenant, name) >= (?, ?) AND ((tenant, name) > (?, ?) OR number < ?)")
        values.extend((*after[:2], *after[:2], after[2]))
    if instance is not None:
        conditions.append("name = ?")
        values.append(instance)
    _limit_tenants(conditions, values, tenants)
    rows = connection.execute(
        "SELECT tenant, name, number, revision, template, commit_id, created_at, state, reason, "
        f"resolved FROM releases WHERE {' AND '.join(conditions) or 'TRUE'} "
        "ORDER BY tenant, name, number DESC LIMIT ?",
        [*values, max(limit, 0)],
    )
    return [decode_release(ResourceKey(Kind.INSTANCE, *row[:2]), row[2:]) for row in rows]


def _limit_tenants(
    conditions: list[str], values: list[Any], tenants: Collection[str] | None
) -> None:
    if tenants is not None:
        conditions.append(f"tenant IN ({', '.join('?' * len(tenants))})")
        values.extend(sorted(tenants))
