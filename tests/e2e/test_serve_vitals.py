"""``serve`` watches what it runs: health turns into events, use into figures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.plane import Engine, Plane, wait_until
from tests.e2e.serve_kit import RARELY, serving

WEB = "instance/acme/web"
HEALTH = 'ctrlplane_health_instances{{health="{}"}}'
QUICK = ("--health-interval", "1s", "--telemetry-interval", "1s")


def health_events(plane: Plane) -> list[str]:
    return [item["type"] for item in plane.events("health.") if item["address"] == WEB]


def work_folders(plane: Plane) -> list[Path]:
    """Where the replicas of web run, by index."""
    return sorted(plane.state.glob("*/processes/acme/web/v1/*/work"))


def test_sick_replicas_are_told_of_until_they_recover(local: Plane) -> None:
    local.begin("acme", replicas=2)
    with serving(local, *RARELY, *QUICK) as serve:
        wait_until(lambda: health_events(local) == ["health.passed"])
        first, second = work_folders(local)
        (first / "sick").touch()
        wait_until(lambda: health_events(local)[1:] == ["health.degraded"])
        assert serve.figures()[HEALTH.format("degraded")] == 1
        (second / "sick").touch()
        wait_until(lambda: health_events(local)[2:] == ["health.failed"])
        (first / "sick").unlink()
        (second / "sick").unlink()
        wait_until(lambda: health_events(local)[-1] == "health.recovered")
        assert serve.figures()[HEALTH.format("healthy")] == 1
        assert serve.has_said("health.failed", "0 of 2 replicas healthy")
        status, told = serve.get("/api/v1/instances/acme/web/health")
        assert (status, told["health"], told["healthy"]) == (200, "healthy", 2)
        assert [item["health"] for item in told["history"] if item["check"] is None] == [
            "healthy",
            "unhealthy",
            "degraded",
            "healthy",
        ]
        assert told["uptime"]["24h"]["known_s"] > 0
        assert {item["health"] for item in told["replica_checks"]} == {"healthy"}
    # A restart is no news.
    before = health_events(local)
    with serving(local, *RARELY, *QUICK) as serve:
        wait_until(lambda: serve.figures().get(HEALTH.format("healthy")) == 1)
        assert health_events(local) == before
    local.assert_settled()


def test_what_replicas_use_is_measured(local: Plane) -> None:
    local.begin("acme", replicas=2)
    with serving(local, *RARELY, *QUICK) as serve:
        label = '{provider="here"}'
        wait_until(lambda: serve.figures().get(f"ctrlplane_replicas_measured{label}") == 2)
        wait_until(lambda: serve.figures()[f"ctrlplane_usage_cpu_cores{label}"] >= 0)
        figures = serve.figures()
        assert figures[f"ctrlplane_replicas_running{label}"] == 2
        assert figures[f"ctrlplane_usage_memory_bytes{label}"] > 10 << 20
        status, told = serve.get("/api/v1/instances/acme/web/telemetry")
        assert status == 200 and len(told["replicas"]) == 2
        assert any(told["total"]["memory_bytes"])
        workers = {item["name"]: item for item in serve.get("/api/v1/workers")[1]["items"]}
        assert workers["telemetry"]["last_error"] is None
        assert workers["health"]["errors"] == 0
        used = serve.get("/api/v1/instances/acme/web/telemetry?window_s=60")[1]
        assert len(used["replicas"]) == 2
        assert max(item or 0 for item in used["total"]["memory_bytes"]) > 10 << 20
        assert serve.get("/api/v1/instances/acme/nobody/telemetry")[0] == 404
        health = serve.get("/api/v1/instances/acme/web/health")[1]
        assert health["health"] == "healthy" and len(health["replica_checks"]) == 2
        assert serve.get("/api/v1/health")[1]["items"][0]["healthy"] == 2


@pytest.mark.docker
def test_ten_containers_are_measured_in_every_round(
    make_plane: Callable[[Engine], Plane], docker_engine: str
) -> None:
    plane = make_plane(Engine("docker", {"host": docker_engine}))
    plane.begin("acme", replicas=10)
    with serving(plane, *RARELY, "--telemetry-interval", "5s") as serve:
        label = '{provider="here"}'
        measured = f"ctrlplane_replicas_measured{label}"
        wait_until(lambda: serve.figures().get(measured) == 10, 90)

        def read_rows() -> list[list[int | None]]:
            told = serve.get("/api/v1/instances/acme/web/telemetry")[1]
            return [item["memory_bytes"] for item in told["replicas"].values()]

        def have_three_rounds() -> bool:
            rows = read_rows()
            return len(rows) == 10 and all(sum(map(bool, row)) >= 3 for row in rows)

        wait_until(have_three_rounds, 60)
        for row in read_rows():
            known = [place for place, value in enumerate(row) if value]
            assert known == list(range(known[0], known[-1] + 1)), "no round is missed"
        workers = {item["name"]: item for item in serve.get("/api/v1/workers")[1]["items"]}
        print(workers["telemetry"]["last_duration_s"])
        assert workers["telemetry"]["errors"] == 0
        cpu = serve.get("/api/v1/instances/acme/web/telemetry")[1]["total"]["rx_bytes_per_s"]
        assert any(value is not None for value in cpu)
