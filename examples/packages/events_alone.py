"""events alone: what happened, heard as it is written down, and read back newest first."""

from datetime import UTC, datetime, timedelta

from ctrlplane_gitops.events.bus import Bus
from ctrlplane_gitops.events.event import EventType, make_event
from ctrlplane_gitops.state.log import EventFilter
from ctrlplane_gitops.state.recorded import RecordBatch
from ctrlplane_gitops.store.registry import open_store

store = open_store("memory:")
now = datetime(2026, 1, 1, tzinfo=UTC)
fence = store.acquire("apply", "me", timedelta(seconds=15), now)
assert fence is not None
address = "instance/acme/web"
events = (
    make_event(EventType.ROLLOUT_STARTED, now, address, "from v1 to v2 by canary"),
    make_event(EventType.ROLLOUT_COMPLETED, now + timedelta(minutes=5), address, "v2 is live"),
)
bus = Bus()
mine = bus.subscribe("mine", EventFilter(type_prefix="rollout.completed"))
store.watch_events(bus.publish)
store.record(RecordBatch(events=events), fence)
assert [item.event for item in mine.take()] == [events[1]]
found = store.read_events()
for item in found:
    print(item.number, item.event.type, item.event.address, item.event.message)
assert [item.event for item in found] == list(reversed(events))
