"""telemetry alone: totals that only grow are read every ten seconds; what was used in between."""

from datetime import UTC, datetime, timedelta

from ctrlplane_gitops.state.key import instance_key
from ctrlplane_gitops.state.usage import Usage
from ctrlplane_gitops.telemetry.sample import Reading
from ctrlplane_gitops.telemetry.series import Telemetry

WEB, STEP = instance_key("acme", "web"), timedelta(seconds=10)
telemetry = Telemetry(STEP)
now = datetime(2026, 1, 1, tzinfo=UTC)
for turn in range(4):
    usage = Usage(cpu_s=2.5 * turn, memory_bytes=64 * 2**20 + turn * 2**20)
    telemetry.put(now, {"prod.acme.web.v1.0": (WEB, Reading(now.timestamp(), "1", usage))})
    now += STEP
series = telemetry.read_instance(WEB, now - STEP, timedelta(minutes=15))
for cpu, memory, _, _ in series.samples:
    print("cpu", None if cpu is None else round(cpu), "millicores, memory", round(memory), "bytes")
assert round(series.last[0]) == 250
