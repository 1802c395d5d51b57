"""What the pages show besides the read model: the source, the last pass, logs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from ctrlplane_gitops.api.page import PageViews, SourceView
from ctrlplane_gitops.api.vital_page import WINDOW, show_health, show_telemetry
from ctrlplane_gitops.app import App, open_providers
from ctrlplane_gitops.errors import CtrlplaneError
from ctrlplane_gitops.health.view import view_spans
from ctrlplane_gitops.reconcile.report import PassReport
from ctrlplane_gitops.redact import one_line
from ctrlplane_gitops.serving.reading import ReadingStores
from ctrlplane_gitops.state.delivery import DeliveryRecord
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.status.live import Live
from ctrlplane_gitops.status.vital import ReadSeries
from ctrlplane_gitops.store.delivery import DeliveryFilter
from ctrlplane_gitops.value import replace
from ctrlplane_gitops.workers.reconciler import Reconciler

# Of the newest release's first replicas, and of each the last lines.
_REPLICAS, _LINES = 3, 15
# As far back as every round is kept by itself.
_MEASURED = timedelta(minutes=15)


class PageReading:
    """``read_live`` is what was seen last, ``find_unready`` says why nothing is right yet."""

    def __init__(
        self,
        app: App,
        reconciler: Reconciler,
        stores: ReadingStores,
        read_live: Callable[[], Live | None],
        find_unready: Callable[[], str],
        read_series: ReadSeries,
    ) -> None:
        self._app, self._reconciler, self._stores = app, reconciler, stores
        self._read_live, self._find_unready = read_live, find_unready
        self._read_series = read_series
        self._seen = SourceView()

    def take_look(self, error: str) -> None:
        """A look at the source, and why it failed ("" where not)."""
        seen_at = self._seen.seen_at if error else self._app.clock.now()
        self._seen = replace(self._seen, seen_at=seen_at, error=error)

    def take_pass(self, report: PassReport) -> None:
        self._seen = replace(
            self._seen,
            commit=report.commit,
            ref=report.ref,
            outcome=report.outcome.value,
            pass_at=report.at + report.duration,
        )

    def build_views(self) -> PageViews:
        return PageViews(
            read_plane=self._read_plane,
            read_source=self._read_source,
            read_logs=self._read_logs,
            read_health=self._read_health,
            read_telemetry=self._read_telemetry,
            read_deliveries=self._read_deliveries,
            now=self._now,
        )

    def _now(self) -> datetime:
        return self._app.clock.now()

    def _read_plane(self) -> str:
        plane = self._reconciler.plane
        return "" if plane is None else plane.name

    def _read_source(self) -> SourceView:
        live = self._read_live()
        observed_at = None if live is None else live.at
        return replace(self._seen, observed_at=observed_at, unready=self._find_unready())

    def _read_deliveries(self, before: int | None, limit: int) -> Sequence[DeliveryRecord]:
        return self._stores.read_store().deliveries.read(
            DeliveryFilter(), before=before, limit=limit
        )

    def _read_health(self, key: ResourceKey) -> dict[str, Any] | None:
        health, now = self._stores.read_store().health, self._now()
        seen_at, spans = health.read_seen_at(), health.read_spans([key], now - WINDOW)
        return show_health(view_spans(key, spans, seen_at, now), spans, seen_at, now)

    def _read_telemetry(self, key: ResourceKey) -> dict[str, Any] | None:
        found = self._read_series(key, _MEASURED)
        return None if found is None else show_telemetry(found[0])

    def _read_logs(self, key: ResourceKey) -> Sequence[str]:
        """By parts of its own, so that a provider that hangs holds up nobody else."""
        live, desired = self._read_live(), self._reconciler.desired
        sets = live.sets.get(key, ()) if live else ()
        if not sets or desired is None:
            return ()
        newest, lines = sets[-1], list[str]()
        with open_providers(self._app, desired.plane) as providers:
            provider = providers[newest.provider]
            for replica in newest.replicas[:_REPLICAS]:
                label = f"v{newest.release}.{replica.index}"
                try:
                    found = provider.read_logs(replica.name, tail=_LINES, is_follow=False)
                    lines += [f"{label}  {one_line(item.text)}" for item in islice(found, _LINES)]
                except CtrlplaneError as error:
                    lines.append(f"{label}  (not to be had: {one_line(error.message)})")
        return lines
