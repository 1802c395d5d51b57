"""Health, telemetry and deliveries as the API shows them."""

from __future__ import annotations

import pytest

from ctrlplane_gitops.state.delivery import DeliveryOutcome, DeliveryRecord
from tests.api.scene import Scene, check_problem
from tests.status.board_kit import NOW, OTHER, WEB


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_health_is_listed_worst_news_included(scene: Scene) -> None:
    found = scene.client().get("/api/v1/health").get_json()["items"]
    assert [(item["address"], item["health"]) for item in found] == [
        (WEB.address, "healthy"), (OTHER.address, "degraded"),
    ]  # fmt: skip
    found = scene.client().get("/api/v1/health?state=degraded").get_json()["items"]
    assert [item["message"] for item in found] == ["one is slow"]
    check_problem(scene.client().get("/api/v1/health?state=ill"), 400, "bad-parameter")


def test_one_instance_shows_its_uptime_and_what_held_before(scene: Scene) -> None:
    found = scene.client().get("/api/v1/instances/acme/web/health").get_json()
    assert found["health"] == "healthy"
    assert [item["health"] for item in found["history"]] == ["healthy", "unhealthy"]
    assert found["uptime"]["24h"] == {"percent": 75.0, "known_s": 4 * 3600}
    check_problem(scene.client().get("/api/v1/instances/acme/no/health"), 404, "not-found")


def test_what_nobody_measures_is_not_found_and_what_is_measured_is_shown(scene: Scene) -> None:
    path = "/api/v1/instances/acme/web/telemetry"
    found = scene.client().get(f"{path}?window_s=600").get_json()
    assert found["total"]["step_s"] == 10.0 and found["total"]["cpu_millicores"] == [12]
    assert found["replicas"]["web.v2.0"] == found["total"]
    check_problem(scene.client().get(f"{path}?window_s=1"), 400, "bad-parameter")
    scene.seen.series = None
    check_problem(scene.client().get(path), 404, "not-found")


def test_deliveries_come_in_pages_and_by_outcome(scene: Scene) -> None:
    store = scene.seen.store.deliveries
    for place, outcome in enumerate((DeliveryOutcome.APPLIED, DeliveryOutcome.REJECTED)):
        store.accept(DeliveryRecord(f"del_{place}", NOW, "github", outcome, digest=f"d{place}"))
    client = scene.client()
    first = client.get("/api/v1/deliveries?limit=1").get_json()
    assert [item["id"] for item in first["items"]] == ["del_1"]
    second = client.get(f"/api/v1/deliveries?limit=1&cursor={first['next']}").get_json()
    assert ([item["id"] for item in second["items"]], second["next"]) == (["del_0"], None)
    found = client.get("/api/v1/deliveries?outcome=applied&sender=github").get_json()["items"]
    assert [item["id"] for item in found] == ["del_0"]
    assert not client.get("/api/v1/deliveries?sender=gitlab").get_json()["items"]
