"""The tables, as sqlite-utils migrations. A migration that was released is never changed."""

from __future__ import annotations

import sqlite3

from sqlite_utils import Database, Migrations

migrations = Migrations("ctrlplane_gitops")


@migrations()
def create_tables(db: Database) -> None:
    """What is recorded now, what is intended, what happened, and who may write."""
    for statement in _FIRST:
        db.execute(statement)


@migrations()
def create_orders(db: Database) -> None:
    """What people ask of rollouts."""
    db.execute(
        """CREATE TABLE orders (tenant TEXT NOT NULL, name TEXT NOT NULL, target INTEGER NOT NULL,
        is_paused INTEGER NOT NULL, is_aborted INTEGER NOT NULL, is_full INTEGER NOT NULL,
        promoted INTEGER NOT NULL, PRIMARY KEY (tenant, name)) STRICT, WITHOUT ROWID"""
    )


@migrations()
def create_deliveries(db: Database) -> None:
    """What made us look at the source. Copies, rejections and looks are rows that count, so what
    is unique is so among the others."""
    for statement in _DELIVERIES:
        db.execute(statement)


@migrations()
def create_outbox(db: Database) -> None:
    """What is to be told to others: how far the log was read, what was noticed, the messages."""
    for statement in _OUTBOX:
        db.execute(statement)


_DELIVERIES = (
    """CREATE TABLE deliveries (number INTEGER PRIMARY KEY, id TEXT NOT NULL, at TEXT NOT NULL,
    sender TEXT NOT NULL, outcome TEXT NOT NULL, given_id TEXT NOT NULL, digest TEXT NOT NULL,
    event TEXT NOT NULL, ref TEXT NOT NULL, announced TEXT NOT NULL, commit_id TEXT NOT NULL,
    ended_at TEXT, message TEXT NOT NULL, reason TEXT NOT NULL, original TEXT NOT NULL,
    count INTEGER NOT NULL, tally TEXT NOT NULL) STRICT""",
    """CREATE UNIQUE INDEX deliveries_given ON deliveries (sender, given_id)
    WHERE given_id <> '' AND original = ''""",
    """CREATE UNIQUE INDEX deliveries_digest ON deliveries (digest)
    WHERE digest <> '' AND original = ''""",
    "CREATE UNIQUE INDEX deliveries_copy ON deliveries (original) WHERE original <> ''",
    "CREATE UNIQUE INDEX deliveries_tally ON deliveries (tally) WHERE tally <> ''",
    "CREATE INDEX deliveries_outcome ON deliveries (outcome, number)",
)
_OUTBOX = (
    """CREATE TABLE outbox_cursor (id INTEGER PRIMARY KEY CHECK (id = 1),
    number INTEGER NOT NULL) STRICT""",
    """CREATE TABLE notices (subscription TEXT NOT NULL, address TEXT NOT NULL, kind TEXT NOT NULL,
    identity TEXT NOT NULL, count INTEGER NOT NULL, since TEXT NOT NULL, last_at TEXT NOT NULL,
    event TEXT NOT NULL, message TEXT NOT NULL,
    PRIMARY KEY (subscription, address, kind, identity)) STRICT, WITHOUT ROWID""",
    """CREATE TABLE outbox (number INTEGER PRIMARY KEY, id TEXT NOT NULL,
    subscription TEXT NOT NULL, event TEXT NOT NULL, type TEXT NOT NULL, address TEXT NOT NULL,
    created_at TEXT NOT NULL, body TEXT NOT NULL, state TEXT NOT NULL, attempts INTEGER NOT NULL,
    next_at TEXT, status INTEGER, error TEXT NOT NULL, ended_at TEXT) STRICT""",
    # Of what waits alone: small, whatever was sent before.
    "CREATE INDEX outbox_due ON outbox (subscription, next_at) WHERE state = 'pending'",
    "CREATE UNIQUE INDEX outbox_id ON outbox (id)",
    """CREATE TABLE outbox_closed (subscription TEXT PRIMARY KEY, target TEXT NOT NULL,
    at TEXT NOT NULL) STRICT, WITHOUT ROWID""",
)


@migrations()
def create_health(db: Database) -> None:
    """How instances are and were, and when somebody last looked."""
    for statement in _HEALTH:
        db.execute(statement)


_FIRST = (
    "CREATE TABLE plane (id INTEGER PRIMARY KEY CHECK (id = 1), plane_id TEXT NOT NULL) STRICT",
    """CREATE TABLE resources (kind TEXT NOT NULL, tenant TEXT NOT NULL, name TEXT NOT NULL,
    fingerprint TEXT NOT NULL, attributes TEXT NOT NULL, is_protected INTEGER NOT NULL,
    path TEXT NOT NULL, commit_id TEXT NOT NULL,
    PRIMARY KEY (kind, tenant, name)) STRICT, WITHOUT ROWID""",
    """CREATE TABLE instances (tenant TEXT NOT NULL, name TEXT NOT NULL, provider TEXT NOT NULL,
    release INTEGER, pin INTEGER, rollout TEXT NOT NULL,
    PRIMARY KEY (tenant, name)) STRICT, WITHOUT ROWID""",
    """CREATE TABLE releases (tenant TEXT NOT NULL, name TEXT NOT NULL, number INTEGER NOT NULL,
    revision TEXT NOT NULL, template TEXT NOT NULL, commit_id TEXT NOT NULL,
    created_at TEXT NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL, resolved TEXT NOT NULL,
    PRIMARY KEY (tenant, name, number)) STRICT, WITHOUT ROWID""",
    "CREATE TABLE blobs (digest TEXT PRIMARY KEY, content BLOB NOT NULL) STRICT",
    # What only grows has a number for its key, which SQLite appends cheaply: a text, even a rising
    # one, makes it balance several pages every few rows, and more of them the more there are.
    """CREATE TABLE open_intents (id TEXT PRIMARY KEY, at TEXT NOT NULL, address TEXT NOT NULL,
    action TEXT NOT NULL) STRICT, WITHOUT ROWID""",
    """CREATE TABLE closed_intents (number INTEGER PRIMARY KEY, id TEXT NOT NULL, at TEXT NOT NULL,
    address TEXT NOT NULL, action TEXT NOT NULL, closed_at TEXT NOT NULL,
    outcome TEXT NOT NULL) STRICT""",
    """CREATE VIEW intents AS
    SELECT id, at, address, action, closed_at, outcome FROM closed_intents UNION ALL
    SELECT id, at, address, action, NULL, '' FROM open_intents""",
    """CREATE TABLE events (number INTEGER PRIMARY KEY, id TEXT NOT NULL, at TEXT NOT NULL,
    type TEXT NOT NULL, address TEXT NOT NULL, message TEXT NOT NULL, data TEXT NOT NULL)
    STRICT""",
    """CREATE TABLE audit (number INTEGER PRIMARY KEY, id TEXT NOT NULL, at TEXT NOT NULL,
    actor TEXT NOT NULL, action TEXT NOT NULL, address TEXT NOT NULL, commit_id TEXT NOT NULL,
    outcome TEXT NOT NULL) STRICT""",
    """CREATE TABLE leases (lease TEXT PRIMARY KEY, holder TEXT NOT NULL, number INTEGER NOT NULL,
    expires_at TEXT NOT NULL) STRICT, WITHOUT ROWID""",
)

_HEALTH = (
    """CREATE TABLE health_spans (number INTEGER PRIMARY KEY, tenant TEXT NOT NULL,
    name TEXT NOT NULL, check_name TEXT NOT NULL, health TEXT NOT NULL, began_at TEXT NOT NULL,
    ended_at TEXT, healthy INTEGER NOT NULL, replicas INTEGER NOT NULL, message TEXT NOT NULL)
    STRICT""",
    "CREATE INDEX health_spans_of ON health_spans (tenant, name, check_name)",
    # Few of many: what is held now, and only one verdict on each subject.
    """CREATE UNIQUE INDEX health_spans_open ON health_spans (tenant, name, check_name)
    WHERE ended_at IS NULL""",
    "CREATE INDEX health_spans_ended ON health_spans (ended_at) WHERE ended_at IS NOT NULL",
    """CREATE TABLE health_looks (id INTEGER PRIMARY KEY CHECK (id = 1), seen_at TEXT NOT NULL)
    STRICT""",
)


def migrate(connection: sqlite3.Connection) -> int:
    """Apply what is pending; the number of migrations there are, which is the schema's version."""
    migrations.apply(Database(connection))
    return len(migrations._migrations)
