"""Leases in SQLite. A lease's row is never deleted, so its number only ever grows."""

from __future__ import annotations

import sqlite3
from datetime import datetime, timedelta

from ctrlplane_gitops.errors import LockError
from ctrlplane_gitops.store.base import Fence, LeaseInfo
from ctrlplane_gitops.store.codec import decode_time, encode_time

_EXPIRED = ""


def acquire(
    connection: sqlite3.Connection, lease: str, holder: str, ttl: timedelta, now: datetime
) -> Fence | None:
    """One statement, so that two callers cannot both succeed."""
    row = connection.execute(
        "INSERT INTO leases VALUES (?, ?, 1, ?) ON CONFLICT (lease) DO UPDATE SET "
        "holder = excluded.holder, number = number + 1, expires_at = excluded.expires_at "
        "WHERE holder = excluded.holder OR expires_at <= ? RETURNING number",
        (lease, holder, encode_time(now + ttl), encode_time(now)),
    ).fetchone()
    return None if row is None else Fence(lease, holder, row[0])


def refresh(connection: sqlite3.Connection, fence: Fence, ttl: timedelta, now: datetime) -> bool:
    changed = connection.execute(
        "UPDATE leases SET expires_at = ? WHERE lease = ? AND holder = ? AND number = ?",
        (encode_time(now + ttl), fence.lease, fence.holder, fence.number),
    ).rowcount
    return changed == 1


def release(connection: sqlite3.Connection, fence: Fence) -> None:
    connection.execute(
        "UPDATE leases SET holder = '', expires_at = ? "
        "WHERE lease = ? AND holder = ? AND number = ?",
        (_EXPIRED, fence.lease, fence.holder, fence.number),
    )


def break_lease(connection: sqlite3.Connection, lease: str, number: int) -> bool:
    changed = connection.execute(
        "UPDATE leases SET holder = '', expires_at = ? WHERE lease = ? AND number = ?",
        (_EXPIRED, lease, number),
    ).rowcount
    return changed == 1


def read(connection: sqlite3.Connection, lease: str) -> LeaseInfo | None:
    row = connection.execute(
        "SELECT holder, number, expires_at FROM leases WHERE lease = ?", (lease,)
    ).fetchone()
    if row is None or not row[0]:
        return None
    return LeaseInfo(lease, row[0], row[1], decode_time(row[2]))


def check_fence(connection: sqlite3.Connection, fence: Fence) -> None:
    """LockError when the fence is not of the lease's current acquisition."""
    row = connection.execute(
        "SELECT holder, number FROM leases WHERE lease = ?", (fence.lease,)
    ).fetchone()
    if row != (fence.holder, fence.number):
        raise LockError(
            f"the lease {fence.lease!r} was lost to another process",
            hint="run it again: what was done is recorded or will be found",
        )
