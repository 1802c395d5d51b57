"""How instances are and were, what they use, and what made us look: pages of the store's own rooms
for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from ctrlplane_gitops.health.uptime import LONGEST
from ctrlplane_gitops.health.view import InstanceHealth, history_as_json, view_spans
from ctrlplane_gitops.state.delivery import DeliveryOutcome, DeliveryRecord
from ctrlplane_gitops.state.health import WHOLE, HealthSpan
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.status.paging import Listing, Page, parse_number, take_page
from ctrlplane_gitops.status.row import DeliveryRow, HealthRow, TelemetryRow
from ctrlplane_gitops.store.base import Store
from ctrlplane_gitops.store.delivery import DeliveryFilter
from ctrlplane_gitops.telemetry.series import Series, series_as_json

ReadSeries = Callable[[ResourceKey, timedelta], tuple[Series, Mapping[str, Series]] | None]
"""What an instance used lately, and each of its replicas; None where nobody measures."""


def list_health(
    store: Store, tenants: frozenset[str] | None, health: str, page: Page, now: datetime
) -> Listing[HealthRow]:
    """Of those that somebody has verified lately, by tenant and name."""
    seen_at = store.health.read_seen_at()
    spans = [
        item
        for item in store.health.read_open()
        if item.check == WHOLE and (tenants is None or item.instance.tenant in tenants)
    ]
    spans.sort(key=lambda item: (item.instance.tenant, item.instance.name))
    rows = (_health_row(view_spans(item.instance, [item], seen_at, now)) for item in spans)
    asked = (row for row in rows if health in ("", row.health))
    return take_page(asked, lambda row: (row.tenant, row.instance), page, 2)


def _health_row(view: InstanceHealth) -> HealthRow:
    return HealthRow(
        address=view.key.address,
        tenant=view.key.tenant,
        instance=view.key.name,
        health=view.health.value,
        since=view.since,
        healthy=view.healthy,
        replicas=view.wanted,
        message=view.message,
    )


def show_health(
    store: Store, key: ResourceKey, live: InstanceHealth | None, now: datetime
) -> Mapping[str, Any]:
    """The health of an instance as the one who probes it has it (``live``), or as it is written
    down, with its uptime and what held before."""
    seen_at = store.health.read_seen_at()
    spans: list[HealthSpan] = list(store.health.read_spans([key], now - LONGEST))
    view = live or view_spans(key, spans, seen_at, now)
    return history_as_json(view, spans, seen_at, now)


def show_telemetry(key: ResourceKey, whole: Series, replicas: Mapping[str, Series]) -> TelemetryRow:
    return TelemetryRow(
        key.address,
        series_as_json(whole),
        {name: series_as_json(series) for name, series in sorted(replicas.items())},
    )


def list_deliveries(store: Store, sender: str, outcome: str, page: Page) -> Listing[DeliveryRow]:
    """The newest first."""
    where = DeliveryFilter(sender or None, DeliveryOutcome(outcome) if outcome else None)
    before = parse_number(page.cursor) if page.cursor else None
    found = store.deliveries.read(where, before=before, limit=page.limit + 1)
    items = tuple(_delivery_row(item) for item in found[: page.limit])
    return Listing(items, str(items[-1].number) if len(found) > page.limit else None)


def _delivery_row(record: DeliveryRecord) -> DeliveryRow:
    return DeliveryRow(
        id=record.id,
        number=record.number,
        at=record.at,
        sender=record.sender,
        delivery_id=record.given_id or None,
        digest=record.digest or None,
        event=record.event or None,
        ref=record.ref or None,
        announced_commit=record.announced or None,
        outcome=record.outcome.value,
        commit=record.commit or None,
        ended_at=record.ended_at,
        message=record.message or None,
        reason=record.reason or None,
        duplicate_of=record.original or None,
        count=record.count,
    )
