"""Every page: it answers with data and without, to those who may see it, and shows no more."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from ctrlplane_gitops.api.page_frame import FILES
from ctrlplane_gitops.api.rendering import digest_of
from ctrlplane_gitops.api.route import Reach, Route
from ctrlplane_gitops.errors import ProviderError
from ctrlplane_gitops.events.event import EventType, make_event
from ctrlplane_gitops.state.access import Role
from ctrlplane_gitops.state.delivery import DeliveryOutcome, DeliveryRecord
from ctrlplane_gitops.state.notification import Message
from ctrlplane_gitops.state.recorded import (
    AuditEntry,
    RecordBatch,
    RecordedInstance,
    RolloutPhase,
    RolloutStatus,
)
from ctrlplane_gitops.status.paging import Page
from ctrlplane_gitops.store.outbox import Reading
from ctrlplane_gitops.value import replace
from tests.api.page_kit import csrf_of, make_waiting, open_page, read_page
from tests.api.scene import Scene, bearer
from tests.status.board_kit import DB, NOW, OTHER, WEB

PAGES: tuple[Route, ...] = tuple(
    item
    for item in Scene().build().extensions["ctrlplane"]["routes"]
    if item.is_page and item.method == "GET" and "static" not in item.path
)
SHOWN = [item for item in PAGES if item.reach is not Reach.OPEN]
HOSTILE = '<script>alert("x")</script><img src=x onerror=alert(1)>\'"&{{7*7}}'


def each(rows: list[Route] | tuple[Route, ...]) -> Any:
    return pytest.mark.parametrize("route", rows, ids=lambda item: item.name)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def place_of(route: Route, tenant: str = "acme") -> str:
    path = route.path.replace("<tenant>", tenant).replace("<name>", "web")
    return path.replace("<commit>", "c0ffee")


@each(PAGES)
def test_every_page_answers_with_data(scene: Scene, route: Route) -> None:
    scene.seen.plan_updates(WEB)
    page = open_page(scene.client(), place_of(route))
    assert page.text


@each([item for item in PAGES if "<" not in item.path])
def test_every_page_answers_when_there_is_nothing_yet(scene: Scene, route: Route) -> None:
    scene.seen.desired = replace(scene.seen.desired, instances={}, resources={})  # type: ignore[type-var]
    scene.seen.live = None
    scene.seen.workers = []
    scene.seen.store = type(scene.seen.store)()
    text = open_page(scene.client(), route.path).text
    if route.reach is not Reach.OPEN:
        assert any(word in text for word in ("yet", "No ", "no instances"))


@each([item for item in SHOWN if "<" in item.path])
def test_a_page_about_nothing_says_so(scene: Scene, route: Route) -> None:
    path = route.path.replace("<tenant>", "nobody").replace("<name>", "x").replace("<commit>", "f")
    answer = scene.client().get(path)
    assert answer.status_code == 404
    assert "Back to the fleet" in read_page(answer.get_data(as_text=True)).text


@each(SHOWN)
def test_before_the_specs_are_read_a_page_says_what_is_missing(scene: Scene, route: Route) -> None:
    scene.seen.desired = None
    answer = scene.client().get(place_of(route))
    assert answer.status_code in (200, 503)
    read_page(answer.get_data(as_text=True))


@each(SHOWN)
def test_whoever_has_not_come_in_is_led_to_the_login_and_back(scene: Scene, route: Route) -> None:
    token, client = scene.declare(), scene.client()
    path = place_of(route)
    answer = client.get(path)
    assert (answer.status_code, answer.headers["Location"]) == (303, f"/login?next={path}")
    login = client.get(answer.headers["Location"]).get_data(as_text=True)
    assert f'name="next" value="{path}"' in login
    sent = {"token": token, "next": path, "csrf": csrf_of(login)}
    done = client.post("/login", data=sent, headers={"Origin": "http://localhost"})
    assert (done.status_code, done.headers["Location"]) == (303, path)
    assert "Sign out" in open_page(client, path).text


def test_a_wrong_token_is_told_and_nobody_comes_in(scene: Scene) -> None:
    scene.declare()
    client = scene.client()
    sent = {"token": "wrong", "next": "/plan", "csrf": csrf_of(client.get("/login").text)}
    answer = client.post("/login", data=sent, headers={"Origin": "http://localhost"})
    page = open_page(client, answer.headers["Location"])
    assert "not one of those" in page.text
    assert client.get("/").status_code == 303


def test_who_signs_out_is_out(scene: Scene) -> None:
    token, client = scene.declare(), scene.client()
    origin = {"Origin": "http://localhost"}
    sent = {"token": token, "csrf": csrf_of(client.get("/login").text)}
    assert client.post("/login", data=sent, headers=origin).headers["Location"] == "/"
    csrf = csrf_of(client.get("/").text)
    assert client.post("/logout", data={"csrf": csrf}, headers=origin).status_code == 303
    assert client.get("/").status_code == 303


@each([item for item in SHOWN if item.reach is not Reach.PLANE])
def test_a_page_shows_a_token_its_own_tenant_alone(scene: Scene, route: Route) -> None:
    token, client = scene.declare(Role.ADMIN, "acme"), scene.client()
    scene.seen.plan_updates(WEB, OTHER)
    page = open_page(client, place_of(route), token)
    assert "beta" not in page.text
    assert not [link for link in page.links if "beta" in link]
    assert "Workers" not in page.text
    if route.reach is Reach.TENANT:
        assert client.get(place_of(route, "beta"), headers=bearer(token)).status_code == 404


@each([item for item in SHOWN if item.reach is Reach.PLANE])
def test_what_is_about_everybody_is_not_for_a_token_of_some(scene: Scene, route: Route) -> None:
    token = scene.declare(Role.ADMIN, "acme")
    answer = scene.client().get(place_of(route), headers=bearer(token))
    assert answer.status_code == 403
    assert "Not allowed" in read_page(answer.get_data(as_text=True)).text


def make_hostile(scene: Scene) -> None:
    """What others may write, in every place where it is shown."""
    seen = scene.seen
    at = NOW - timedelta(minutes=5)
    rollout = RolloutStatus(RolloutPhase.PROGRESSING, 2, 1, at, at, 0, HOSTILE, 1, at)
    seen.store.record(
        RecordBatch(
            instances=(RecordedInstance(WEB, HOSTILE, 1, 1, rollout),),
            events=(make_event(EventType.ACTION_FAILED, NOW, WEB.address, HOSTILE),),
            audit=(AuditEntry("aud_x", NOW, HOSTILE, HOSTILE, HOSTILE, "c0ffee", HOSTILE),),
        ),
        seen.fence,
    )
    tell(scene, HOSTILE)
    seen.workers = [replace(seen.workers[0], name=HOSTILE, last_error=HOSTILE)]
    seen.live = seen.look(web=1)
    scene.logs = [HOSTILE]
    scene.source = replace(scene.source, ref=HOSTILE, error=HOSTILE, unready=HOSTILE)
    scene.deliveries = [
        DeliveryRecord("del_1", NOW, HOSTILE, DeliveryOutcome.FAILED, HOSTILE, ref=HOSTILE,
                       message=HOSTILE, number=1)
    ]  # fmt: skip


def tell(scene: Scene, text: str) -> None:
    """A message to somebody is pending; its body is nobody's business."""
    body = '{"secret": "of-the-body"}'
    message = Message("msg_1", text, "evt_1", text, WEB.address, NOW, body, next_at=NOW)
    assert scene.seen.store.outbox.read_on(Reading(None, 1, messages=(message,)))


@each(PAGES)
def test_nothing_that_others_write_is_taken_for_markup(scene: Scene, route: Route) -> None:
    make_hostile(scene)
    client = scene.client()
    page = open_page(client, place_of(route))
    is_told = "alert(" in page.text
    assert is_told or route.path in ("/login", "/tenants", "/tenants/<tenant>", "/plan")
    assert "49" not in page.text.replace("7*7", "")
    for name in ("q", "tenant", "address", "phase"):
        if name in {item.name for item in route.query}:
            found = client.get(place_of(route), query_string={name: HOSTILE})
            read_page(found.get_data(as_text=True))


@each(PAGES)
def test_no_address_puts_words_into_our_mouth(scene: Scene, route: Route) -> None:
    client = scene.client()
    text = client.get(place_of(route), query_string={"done": "your account is locked"}).text
    assert "locked" not in text
    assert (
        "The rollout goes on." in client.get(place_of(route), query_string={"done": "resume"}).text
    )


@each(PAGES)
def test_a_page_may_load_nothing_from_elsewhere(scene: Scene, route: Route) -> None:
    answer = scene.client().get(place_of(route))
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy and "http" not in policy
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("name", FILES)
def test_files_are_kept_by_browsers_until_they_change(scene: Scene, name: str) -> None:
    client = scene.client()
    answer = client.get(f"/static/{name}?v={digest_of(name)}")
    assert answer.status_code == 200
    assert "immutable" in answer.headers["Cache-Control"]
    assert f"/static/{name}?v={digest_of(name)}" in client.get("/").text


@pytest.mark.parametrize("name", ["../page.py", "..%2fpage.py", "x.css", "pages.css/", ".."])
def test_no_other_file_is_given_out(scene: Scene, name: str) -> None:
    assert scene.client().get(f"/static/{name}").status_code in (404, 308)


def test_the_fleet_is_sorted_by_what_is_worst_and_can_be_searched(scene: Scene) -> None:
    scene.seen.live = scene.seen.look(db=0, web=2)
    client = scene.client()
    names = [link for link in open_page(client, "/").links if "/instances/" in link]
    assert names[0] == "/tenants/acme/instances/db"
    assert "acme/db" not in open_page(client, "/?phase=running").text.split("What happened")[0]
    found = open_page(client, "/?q=BETA")
    assert "beta/web" in found.text and "acme/web" not in found.text.split("What happened")[0]
    assert "has 'nowhere' in its name" in open_page(client, "/?q=nowhere").text


def test_a_fleet_of_many_is_shown_in_pages_that_hold_everybody_once(scene: Scene) -> None:
    scene.seen.grow(60)
    client, found, path = scene.client(), list[str](), "/?phase=unknown"
    while path:
        page = open_page(client, path)
        found += [link for link in page.links if "/tenants/many/instances/" in link]
        path = next((link for link in page.links if "page=" in link and link > path), "")
    assert sorted(found) == [f"/tenants/many/instances/i{number:02}" for number in range(60)]


def test_a_rollout_is_shown_with_its_step_its_weights_and_what_it_waits_for(scene: Scene) -> None:
    make_waiting(scene)
    text = scene.client().get("/tenants/acme/instances/web").text
    page = read_page(text)
    assert "Step 2 of 3: 10% 2m, then 50% until promote, then 100%" in text
    assert 'class="stair-current"' in text
    assert "v1 90%" in page.text and "v2 10%" in page.text
    assert 'aria-label="Requests: v1 90%, v2 10%"' in text
    assert "To v2 from v1" in page.text


def test_an_instance_shows_its_replicas_by_release_and_why_one_is_not_ready(scene: Scene) -> None:
    scene.seen.live = scene.seen.look(web=1)
    page = open_page(scene.client(), "/tenants/acme/instances/web")
    assert "1 of 2 ready" in page.text
    assert "prod.acme.web.v2.1: stopped (exit 1)" in page.text
    assert "http: http://127.0.0.1:20000" in page.text


def test_logs_that_cannot_be_had_are_no_reason_to_show_nothing(scene: Scene) -> None:
    def fail(key: object) -> list[str]:
        raise ProviderError("the engine does not answer")

    scene.read_logs = fail
    page = open_page(scene.client(), "/tenants/acme/instances/web")
    assert "Not to be had now: the engine does not answer" in page.text


def test_a_source_that_is_down_is_told_with_the_age_of_what_is_in_force(scene: Scene) -> None:
    seen_at = NOW - timedelta(hours=1)
    scene.source = replace(scene.source, commit="c0ffee", seen_at=seen_at, error="no route to host")
    page = open_page(scene.client(), "/")
    assert "source seen 1 h ago" in page.text
    assert "The source is not to be had: no route to host. What it said last stays" in page.text


def test_the_plan_is_shown_as_plan_prints_it(scene: Scene) -> None:
    scene.seen.plan_updates(WEB, DB)
    text = scene.client().get("/plan").text
    page = read_page(text)
    assert "Plan: 0 to add, 2 to change, 0 to destroy." in page.text
    assert '<span class="is-change">' in text


def test_a_commit_shows_what_was_done_from_it(scene: Scene) -> None:
    client = scene.client()
    listed = open_page(client, "/commits")
    assert "/commits/c0ffee" in listed.links
    assert "3 changes for acme, beta" in listed.text
    page = open_page(client, "/commits/c0ffee")
    assert page.links.count("/tenants/acme/instances/web") == 1
    assert "user:me" in page.text


def test_a_commit_that_led_to_nothing_is_known_by_its_delivery(scene: Scene) -> None:
    scene.deliveries = [
        DeliveryRecord("del_1", NOW, "github", DeliveryOutcome.UNCHANGED, commit="facade", number=1)
    ]
    scene.source = replace(scene.source, commit="decade")
    client = scene.client()
    assert "/commits/facade" in open_page(client, "/commits").links
    assert "Nothing: what runs" in open_page(client, "/commits/facade").text
    assert "in force" in open_page(client, "/commits/decade").text
    assert client.get("/commits/ba5eba11").status_code == 404


def test_deliveries_go_on_from_the_last_one(scene: Scene) -> None:
    scene.deliveries = [
        DeliveryRecord(f"del_{n}", NOW, "github", DeliveryOutcome.APPLIED, number=n)
        for n in range(60, 0, -1)
    ]
    page = open_page(scene.client(), "/deliveries")
    assert "/deliveries?cursor=11" in page.links


def test_what_others_are_told_is_shown_without_what_it_says(scene: Scene) -> None:
    assert "Nobody was told anything" in open_page(scene.client(), "/deliveries").text
    tell(scene, "pager")
    page = open_page(scene.client(), "/deliveries")
    assert "to pager, 0 attempts" in page.text
    assert "of-the-body" not in page.text


def test_events_go_on_from_the_last_one_with_the_same_filter(scene: Scene) -> None:
    many = tuple(
        make_event(EventType.REPLICAS_SCALED, NOW, WEB.address, f"number {n}") for n in range(60)
    )
    scene.seen.store.record(RecordBatch(events=many), scene.seen.fence)
    client = scene.client()
    page = open_page(client, "/events?tenant=acme&type=replicas.scaled")
    more = next(link for link in page.links if "cursor=" in link)
    assert "tenant=acme" in more and "type=replicas.scaled" in more
    rest = open_page(client, more)
    assert "number 9" in rest.text and "number 10" not in rest.text
    assert len(scene.seen.board.list_events(_all(), Page(limit=500)).items) == 64


def _all() -> Any:
    from ctrlplane_gitops.status.history import LogWhere

    return LogWhere()


@pytest.mark.parametrize(
    "path", ["/?page=0", "/?page=x", "/?page=99999999", "/?nothing=1", "/events?cursor=x"]
)
def test_an_address_that_means_nothing_is_refused_as_a_page(scene: Scene, path: str) -> None:
    answer = scene.client().get(path)
    assert answer.status_code == 400
    read_page(answer.get_data(as_text=True))
    assert not scene.bugs


def test_a_browser_at_a_wrong_path_gets_a_page_and_a_program_a_problem(scene: Scene) -> None:
    client = scene.client()
    shown = client.get("/nowhere", headers={"Accept": "text/html,*/*;q=0.8"})
    assert shown.status_code == 404
    assert "Nothing is here" in read_page(shown.get_data(as_text=True)).text
    assert client.get("/nowhere").headers["Content-Type"] == "application/problem+json"


def test_a_bug_behind_a_page_is_reported_and_not_shown(scene: Scene) -> None:
    def fail(key: object) -> list[str]:
        raise RuntimeError("secret-of-the-inside")

    scene.read_logs = fail
    answer = scene.client().get("/tenants/acme/instances/web")
    assert answer.status_code == 500
    assert "secret-of-the-inside" not in answer.text
    read_page(answer.text)
    assert len(scene.bugs) == 1


@each(PAGES)
def test_no_page_shows_where_a_secret_s_value_can_be_compared(scene: Scene, route: Route) -> None:
    text = scene.client().get(place_of(route)).text
    assert "valueDigest" not in text
    assert "cpt_" not in text
