"""api alone: the read model over a store that is filled by hand, asked over HTTP and as a page."""

import json
from datetime import UTC, datetime, timedelta

from ctrlplane_gitops.api.guard import Access, Guard
from ctrlplane_gitops.api.page import PageViews, SourceView, page_routes
from ctrlplane_gitops.api.read import build_read_routes
from ctrlplane_gitops.clock import SystemClock
from ctrlplane_gitops.state.desired import ControlPlane, DesiredState
from ctrlplane_gitops.state.key import tenant_key
from ctrlplane_gitops.state.recorded import RecordBatch, RecordedResource
from ctrlplane_gitops.status.board import Board, Sources, Where
from ctrlplane_gitops.status.shown import as_json
from ctrlplane_gitops.store.registry import open_store

store = open_store("memory:")
fence = store.acquire("apply", "me", timedelta(seconds=15), datetime.now(UTC))
spec = json.dumps({"displayName": "Acme Corp", "quota": {"instances": 5}})
store.record(RecordBatch(resources=(RecordedResource(tenant_key("acme"), "f", spec),)), fence)
desired = DesiredState(ControlPlane("prod", {}, "local"), {}, {})
clock = SystemClock()
board = Board(Sources(lambda: desired, lambda: None, lambda: store, clock.now))
[tenant] = board.list_tenants(Where()).items
print(json.dumps(as_json(tenant))[:100], "...")
assert tenant.quota.instances.limit == 5

views = PageViews(
    read_plane=lambda: "prod",
    read_source=SourceView,
    read_logs=lambda key: (),
    read_health=lambda key: None,
    read_telemetry=lambda key: None,
    read_deliveries=lambda before, limit: (),
    now=clock.now,
)
guard = Guard(Access(read_tokens=tuple, is_open=True, clock=clock))
routes = (*build_read_routes(board), *page_routes(board, views, guard))
for route in routes[:4]:
    print(route.method, route.path, route.reach.value, route.summary)
