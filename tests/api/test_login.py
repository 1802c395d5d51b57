"""A browser: the cookie it gets, and pages of others that would use it."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from flask import Flask
from flask.testing import FlaskClient

from ctrlplane_gitops.api.session import COOKIE
from ctrlplane_gitops.auth.tokens import new_token
from tests.api.scene import Scene, bearer, check_problem

TENANTS = "/api/v1/tenants"


@pytest.fixture
def scene() -> Scene:
    return Scene()


def log_in(client: FlaskClient, token: str) -> None:
    assert client.post("/login", json={"token": token}).status_code == 204


def csrf_of(application: Flask, client: FlaskClient) -> str:
    """What a page of ours puts into its forms."""
    cookie = client.get_cookie(COOKIE)
    guard = application.extensions["ctrlplane"]["guard"]
    return str(guard.sessions.sign(cookie.value if cookie else ""))


def test_a_token_is_turned_into_a_cookie_that_no_script_and_no_other_site_has(scene: Scene) -> None:
    token, client = scene.declare(), scene.client()
    check_problem(client.get(TENANTS), 401, "unauthenticated")
    answer = client.post("/login", json={"token": token})
    assert answer.status_code == 204
    [cookie] = answer.headers.getlist("Set-Cookie")
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
    assert "Secure" not in cookie and token not in cookie
    assert client.get(TENANTS).status_code == 200
    secure = client.post("/login", json={"token": token}, headers={"Origin": "https://localhost"})
    assert "Secure" in secure.headers["Set-Cookie"]


def test_a_session_ends_with_the_logout_with_its_token_and_with_time(scene: Scene) -> None:
    token, client = scene.declare(), scene.client()
    scene.declare()
    log_in(client, token)
    stolen = client.get_cookie(COOKIE)
    assert stolen is not None
    assert client.post("/logout", json={}).status_code == 204
    client.set_cookie(COOKIE, stolen.value)
    check_problem(client.get(TENANTS), 401, "unauthenticated")

    log_in(client, token)
    scene.clock.advance(timedelta(hours=12))
    check_problem(client.get(TENANTS), 401, "unauthenticated")

    log_in(client, token)
    assert scene.tokens is not None
    scene.tokens = scene.tokens[1:]
    check_problem(client.get(TENANTS), 401, "unauthenticated")


def test_a_session_ends_when_its_token_expires(scene: Scene) -> None:
    token, client = scene.declare(expires_in=timedelta(minutes=5)), scene.client()
    log_in(client, token)
    assert client.get(TENANTS).status_code == 200
    scene.clock.advance(timedelta(minutes=5))
    check_problem(client.get(TENANTS), 401, "unauthenticated")


def test_a_form_logs_in_and_leads_on_within_the_site(scene: Scene) -> None:
    token, application = scene.declare(), scene.build()
    for place, found in (
        ("/tenants/acme", "/tenants/acme"),
        ("//evil.example", "/"),
        ("/\\e", "/"),
    ):
        client = application.test_client()
        form = {"token": token, "next": place, "csrf": csrf_of(application, client)}
        answer = client.post("/login", data=form)
        assert (answer.status_code, answer.headers["Location"]) == (303, found)
        assert client.get(TENANTS).status_code == 200
    form = {"token": new_token(), "csrf": csrf_of(application, application.test_client())}
    answer = application.test_client().post("/login", data=form)
    assert answer.status_code == 303
    assert re.fullmatch(r"/login\?failed=true&next=/", answer.headers["Location"])


def test_no_token_is_told_from_a_wrong_one(scene: Scene) -> None:
    scene.declare()
    client = scene.client()
    check_problem(client.post("/login", json={"token": new_token()}), 401, "unauthenticated")
    check_problem(client.post("/login", json={}), 400, "bad-body")
    check_problem(client.post("/login", json={"token": "x", "role": "admin"}), 400, "bad-body")
    check_problem(client.post("/login", json={"token": 7}), 400, "bad-body")


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ],
)
def test_another_site_s_page_changes_nothing(scene: Scene, headers: dict[str, str]) -> None:
    client = scene.client()
    check_problem(client.post("/logout", json={}, headers=headers), 403, "cross-origin")
    token = scene.declare()
    log_in(client, token)
    check_problem(client.post("/logout", json={}, headers=headers), 403, "cross-origin")


def test_a_form_without_what_our_pages_put_into_it_changes_nothing(scene: Scene) -> None:
    application = scene.build()
    client, other = application.test_client(), application.test_client()
    log_in(client, scene.declare())
    mine, theirs = csrf_of(application, client), csrf_of(application, other)
    for form in ({}, {"csrf": ""}, {"csrf": theirs}, {"csrf": "é"}):
        check_problem(client.post("/logout", data=form), 403, "csrf")
    ours = {"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost"}
    assert client.post("/logout", data={"csrf": mine}, headers=ours).status_code == 303


def test_a_program_with_a_token_needs_neither(scene: Scene) -> None:
    token, client = scene.declare(), scene.client()
    answer = client.post("/logout", headers={**bearer(token), "Origin": "https://ci.example"})
    assert answer.status_code == 204
