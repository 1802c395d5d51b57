"""health alone: a probe of a real server, and the verdict on what it says in the course of time."""

import socket
from datetime import UTC, datetime, timedelta

from ctrlplane_gitops.health.probes import probe
from ctrlplane_gitops.health.verdict import next_verdict
from ctrlplane_gitops.state.desired import HealthCheck, ProbeType

check = HealthCheck("alive", ProbeType.TCP, port="http", timeout=timedelta(seconds=1))
now = datetime(2026, 1, 1, tzinfo=UTC)
verdict = None
with socket.create_server(("127.0.0.1", 0)) as server:
    place = server.getsockname()
    result = probe(check, lambda port: place, lambda command, timeout: 1)
    verdict = next_verdict(verdict, {check.name: result}, check.retries, now)
    print(verdict.is_ready, result.message)
assert verdict.is_ready
for _ in range(check.retries):
    result = probe(check, lambda port: place, lambda command, timeout: 1)
    verdict = next_verdict(verdict, {check.name: result}, check.retries, now)
    print(verdict.is_ready, result.message)
assert not verdict.is_ready
