"""The description of the API: it is of every route, and answers are as it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from ctrlplane_gitops.api.openapi import path_of
from ctrlplane_gitops.api.route import Route
from ctrlplane_gitops.state.access import Role
from tests.api.scene import Scene, bearer
from tests.api.test_access import ROUTES, ask, place_of

GOLDEN = Path(__file__).parent / "golden" / "openapi.json"
DESCRIBED = [item for item in ROUTES if not item.is_page]


def read_description() -> dict[str, Any]:
    found: dict[str, Any] = Scene().client().get("/api/v1/openapi.json").get_json()
    return found


def test_it_reads_as_it_did(request: pytest.FixtureRequest) -> None:
    text = json.dumps(read_description(), indent=2, ensure_ascii=False) + "\n"
    if request.config.getoption("--update-golden"):
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text()


def test_every_route_is_in_it_and_nothing_else() -> None:
    found = read_description()
    operations = {
        (path, method.upper()) for path, item in found["paths"].items() for method in item
    }
    assert operations == {(path_of(item), item.method) for item in DESCRIBED}
    ids = [item["operationId"] for row in found["paths"].values() for item in row.values()]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("route", DESCRIBED, ids=lambda item: item.name)
def test_an_answer_is_as_it_is_described(route: Route) -> None:
    scene = Scene()
    scene.seen.plan_updates(*scene.seen.instances())
    description = scene.client().get("/api/v1/openapi.json").get_json()
    operation = description["paths"][path_of(route)][route.method.lower()]
    if route.media != "application/json" or "login" in route.path:
        return
    if route.name.endswith("exec"):
        headers = bearer(scene.declare(Role.ADMIN))
        answer = scene.client().post(
            place_of(route, "acme"), json={"command": ["ls"]}, headers=headers
        )
    else:
        answer = ask(scene.client(), route, token=scene.declare(Role.ADMIN))
    assert answer.status_code == route.status
    described = operation["responses"][str(route.status)]
    if "content" in described:
        schema = described["content"][route.media]["schema"]
        whole = {**schema, "components": description["components"]}
        Draft202012Validator(whole).validate(answer.get_json())
