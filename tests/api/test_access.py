"""Who comes in, what they may, and what they are told otherwise: swept over the route table."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from ctrlplane_gitops.api.route import Reach, Route
from ctrlplane_gitops.auth.tokens import Principal, new_token
from ctrlplane_gitops.state.access import Role
from tests.api.scene import Scene, bearer, check_problem
from tests.status.board_kit import OTHER, WEB

JSON = {"Content-Type": "application/json"}
# Pages lead to the login instead (test_page.py).
ROUTES: tuple[Route, ...] = tuple(
    item for item in Scene().build().extensions["ctrlplane"]["routes"] if not item.is_page
)
GUARDED = [item for item in ROUTES if item.reach not in (Reach.OPEN, Reach.SIGNED)]
OF_TENANT = [item for item in GUARDED if item.reach is Reach.TENANT]
LISTS = [
    item
    for item in GUARDED
    if item.reach is Reach.LIST and item.method == "GET" and item.media == "application/json"
]
PLANE = [item for item in GUARDED if item.reach is Reach.PLANE]


def test_what_is_about_a_tenant_says_which() -> None:
    assert all("<tenant>" in item.path for item in OF_TENANT)
    # Whoever adds a route decides who may ask: nothing is open that is not listed here.
    opened = {item.path for item in ROUTES if item.reach is Reach.OPEN and not item.is_page}
    assert opened == {"/healthz", "/readyz", "/login", "/logout"}
    assert all(item.permission for item in GUARDED)


def by_name(rows: list[Route]) -> Any:
    return pytest.mark.parametrize("route", rows, ids=lambda item: item.name)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def place_of(route: Route, tenant: str) -> str:
    name = "url" if "/secrets/" in route.path else "web"
    return (
        route.path.replace("<tenant>", tenant)
        .replace("<name>", name)
        .replace("<int:number>", "2")
        .replace("<worker>", "reconciler")
    )


def ask(client: FlaskClient, route: Route, tenant: str = "acme", token: str | None = None) -> Any:
    headers = {**(JSON if route.method == "POST" else {}), **(bearer(token) if token else {})}
    return client.open(place_of(route, tenant), method=route.method, headers=headers)


@by_name(GUARDED)
def test_without_a_token_nobody_comes_in_where_tokens_are_declared(
    scene: Scene, route: Route
) -> None:
    scene.declare()
    answer = ask(scene.client(), route)
    check_problem(answer, 401, "unauthenticated")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer realm=")


@by_name(GUARDED)
@pytest.mark.parametrize("tokens", [None, ()], ids=["not-known", "none"])
def test_an_address_that_others_reach_is_closed_until_there_are_tokens(
    scene: Scene, route: Route, tokens: Any
) -> None:
    scene.tokens, scene.is_open = tokens, False
    client = scene.client()
    check_problem(ask(client, route), 401, "unauthenticated")
    code = (503, "access-unknown") if tokens is None else (401, "unauthenticated")
    check_problem(ask(client, route, token=new_token()), *code)
    assert client.get("/healthz").status_code == client.get("/readyz").status_code == 200


@by_name(OF_TENANT)
def test_a_token_of_one_tenant_gets_404_for_everything_of_another(
    scene: Scene, route: Route
) -> None:
    token = scene.declare(Role.ADMIN, "acme")
    client = scene.client()
    there, nowhere = ask(client, route, "beta", token), ask(client, route, "nobody", token)
    check_problem(there, 404, "not-found")
    # It does not tell whether there is such a tenant.
    assert there.get_data() == nowhere.get_data()
    if route.method == "GET":
        assert ask(client, route, "acme", token).status_code == 200


@by_name(LISTS)
def test_a_list_shows_a_token_its_own_tenant_alone(scene: Scene, route: Route) -> None:
    token, whole = scene.declare(Role.VIEWER, "acme"), scene.declare(Role.VIEWER)
    scene.seen.plan_updates(WEB, OTHER)
    client = scene.client()
    for path in (route.path, f"{route.path}?tenant=beta"):
        answer = client.get(path, headers=bearer(token))
        if "tenant=" in path and "tenant" not in {item.name for item in route.query}:
            check_problem(answer, 400, "bad-parameter")
            continue
        assert answer.status_code == 200
        assert "beta" not in answer.get_data(as_text=True)
    assert "acme" in client.get(route.path, headers=bearer(whole)).get_data(as_text=True)


@by_name(PLANE)
def test_what_is_about_everybody_is_not_for_a_token_of_some(scene: Scene, route: Route) -> None:
    token = scene.declare(Role.ADMIN, "acme")
    check_problem(ask(scene.client(), route, token=token), 403, "forbidden")


@by_name(GUARDED)
def test_a_role_may_what_the_table_says_and_is_told_what_it_lacks(
    scene: Scene, route: Route
) -> None:
    assert route.permission is not None
    client = scene.client()
    for role in Role:
        answer = ask(client, route, token=scene.declare(role))
        if Principal("token:x", role).may(route.permission):
            assert answer.status_code not in (401, 403)
        else:
            body = check_problem(answer, 403, "forbidden")
            assert repr(route.permission.value) in body["detail"]


@by_name([item for item in GUARDED if item.method != "GET"])
def test_a_state_is_never_changed_by_get(scene: Scene, route: Route) -> None:
    twins = {item.method for item in ROUTES if item.path == route.path}
    if "GET" not in twins:
        answer = scene.client().get(place_of(route, "acme"))
        check_problem(answer, 405, "method-not-allowed")


@pytest.mark.parametrize(
    "header",
    ["Bearer", "Bearer ", "Basic eA==", "Bearer x y", "bearer \xff", "Bearer " + "x" * 9999],
)
def test_what_is_no_token_is_refused_and_no_bug(scene: Scene, header: str) -> None:
    scene.declare()
    answer = scene.client().get("/api/v1/tenants", headers={"Authorization": header})
    check_problem(answer, 401, "unauthenticated")
    assert not scene.bugs


def test_a_token_that_is_given_is_checked_although_nobody_has_to_give_one(scene: Scene) -> None:
    answer = scene.client().get("/api/v1/tenants", headers=bearer(new_token()))
    check_problem(answer, 401, "unauthenticated")
    assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]


def test_a_token_that_has_expired_or_is_gone_from_git_is_refused_at_once(scene: Scene) -> None:
    token, client = scene.declare(expires_in=timedelta(hours=1)), scene.client()
    scene.declare()
    assert client.get("/api/v1/tenants", headers=bearer(token)).status_code == 200
    scene.clock.advance(timedelta(hours=1))
    check_problem(client.get("/api/v1/tenants", headers=bearer(token)), 401, "unauthenticated")
    other = scene.declare()
    scene.tokens = ()
    check_problem(client.get("/api/v1/tenants", headers=bearer(other)), 401, "unauthenticated")


def test_who_tries_many_tokens_is_told_to_wait_and_who_has_one_is_not(scene: Scene) -> None:
    token, client = scene.declare(), scene.client()
    codes = [
        client.get("/api/v1/tenants", headers=bearer(new_token())).status_code for _ in range(12)
    ]
    assert codes == [401] * 10 + [429] * 2
    answer = client.get("/api/v1/tenants", headers=bearer(new_token()))
    check_problem(answer, 429, "too-many-attempts")
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    assert client.get("/api/v1/tenants", headers=bearer(token)).status_code == 200
    scene.clock.advance(timedelta(minutes=1))
    answer = client.get("/api/v1/tenants", headers=bearer(new_token()))
    check_problem(answer, 401, "unauthenticated")


def test_why_it_is_not_ready_is_told_to_those_who_may_know(scene: Scene) -> None:
    scene.reason = "acme.yaml: broken"
    client = scene.client()
    assert check_problem(client.get("/readyz"), 503, "not-ready")["detail"] == scene.reason
    whole, mine = scene.declare(Role.VIEWER), scene.declare(Role.VIEWER, "beta")
    for headers, is_told in ((bearer(whole), True), (bearer(mine), False), ({}, False)):
        body = check_problem(client.get("/readyz", headers=headers), 503, "not-ready")
        assert (scene.reason in body["detail"]) is is_told
