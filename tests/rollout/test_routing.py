"""Shares of requests as entries of a route table, and back."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from ctrlplane_gitops.network.table import find_problems
from ctrlplane_gitops.rollout.routing import (
    Place,
    build_entries,
    places_of,
    read_step,
    steady_step,
)
from ctrlplane_gitops.rollout.view import RouteStep
from ctrlplane_gitops.state.desired import DesiredRoute
from ctrlplane_gitops.state.key import instance_key, parse_address
from ctrlplane_gitops.state.observed import (
    Endpoint,
    ObservedReplica,
    ObservedReplicaSet,
    ReplicaPhase,
)
from ctrlplane_gitops.state.traffic import Backend, HeaderRule, Member, RouteTable

INSTANCE = instance_key("acme", "web")
ROUTE = DesiredRoute(parse_address("route/acme/web"), ("shop.example",), "/", "http")


def place(release: int, number: int, *ports: str) -> Place:
    names = ports or ("http",)
    found = {it: Endpoint(it, "127.0.0.1", number + at) for at, it in enumerate(names)}
    return Place(release, found)


PLACES = {"v1.0": place(1, 8000), "v1.1": place(1, 8010), "v2.0": place(2, 9000)}
CANARY = RouteStep(((1, 90), (2, 10)), ("v1.0", "v1.1", "v2.0"))


def test_every_release_is_a_backend_with_its_share_and_its_members() -> None:
    (entry,) = build_entries(INSTANCE, [ROUTE], CANARY, PLACES)
    old = (Member("v1.0", "127.0.0.1", 8000), Member("v1.1", "127.0.0.1", 8010))
    new = (Member("v2.0", "127.0.0.1", 9000),)
    assert entry.backends == (Backend(1, 90, old), Backend(2, 10, new))
    assert (entry.key, entry.instance, entry.hosts) == (ROUTE.key, INSTANCE, ROUTE.hosts)


def test_who_is_not_there_or_does_not_offer_the_port_is_no_member() -> None:
    admin = replace(
        ROUTE, key=parse_address("route/acme/admin"), port="admin", hosts=("b.example",)
    )
    places = {"v1.0": place(1, 8000), "v2.0": place(2, 9000, "http", "admin")}
    first, second = build_entries(INSTANCE, [ROUTE, admin], CANARY, places)
    assert first.key == admin.key
    assert [len(item.members) for item in first.backends] == [0, 1]
    assert [len(item.members) for item in second.backends] == [1, 1]
    assert [item.weight for item in first.backends] == [90, 10]


def test_where_nobody_answers_an_entry_stays_with_nobody() -> None:
    (entry,) = build_entries(INSTANCE, [ROUTE], RouteStep((), ()), {})
    assert entry.backends == (Backend(0, 100),)
    assert read_step([entry]) == RouteStep((), ())
    assert read_step([]) == RouteStep((), ())


def test_the_preview_has_its_own_hosts_or_its_own_header() -> None:
    route = replace(ROUTE, preview_hosts=("next.example",), canary_header=("X-Try", "yes"))
    step = RouteStep(((1, 100),), ("v1.0", "v1.1"), ("v2.0",))
    main, preview = build_entries(INSTANCE, [route], step, PLACES)
    new = (Member("v2.0", "127.0.0.1", 9000),)
    assert main.header == HeaderRule("X-Try", "yes", 2)
    assert main.backends[1] == Backend(2, 0, new)
    assert preview.variant == "preview"
    assert preview.hosts == ("next.example",)
    assert preview.backends == (Backend(2, 100, new),)
    assert read_step([main, preview]) == step
    assert read_step([main]) == step
    # Without a rollout the preview is what everybody gets.
    step = replace(step, preview=())
    main, preview = build_entries(INSTANCE, [route], step, PLACES)
    assert main.header is None
    assert preview.backends == main.backends
    assert read_step([main, preview]) == step


def test_what_lives_of_one_release_gets_everything_when_nothing_is_rolled_out() -> None:
    def replica(name: str, phase: ReplicaPhase) -> ObservedReplica:
        return ObservedReplica(name, name, 0, phase, (Endpoint("http", "127.0.0.1", 8000),))

    living, dead = replica("v1.0", ReplicaPhase.RUNNING), replica("v1.1", ReplicaPhase.STOPPED)
    other = replica("v2.0", ReplicaPhase.RUNNING)
    sets = [
        ObservedReplicaSet(INSTANCE, "local", 1, "a", (living, dead)),
        ObservedReplicaSet(INSTANCE, "local", 2, "b", (other,)),
    ]
    assert steady_step(1, sets) == RouteStep(((1, 100),), ("v1.0",))
    assert steady_step(3, sets) == RouteStep((), ())
    assert sorted(places_of(sets)) == ["v1.0", "v2.0"]


@st.composite
def steps(draw: st.DrawFn) -> RouteStep:
    weights = draw(st.sampled_from(([(1, 100)], [(2, 100)], [(1, 90), (2, 10)], [(1, 1), (2, 99)])))
    names = [name for name, found in PLACES.items() if found.release in dict(weights)]
    fewest = {next(it for it in names if PLACES[it].release == release) for release, _ in weights}
    members = fewest | set(draw(st.lists(st.sampled_from(names), unique=True)))
    preview = draw(st.sampled_from(((), ("v2.0",)))) if dict(weights) != {2: 100} else ()
    return RouteStep(tuple(weights), tuple(sorted(members)), preview)


@given(steps(), st.booleans(), st.booleans())
def test_a_table_says_what_was_asked_for(step: RouteStep, has_host: bool, has_header: bool) -> None:
    route = replace(
        ROUTE,
        preview_hosts=("next.example",) if has_host else (),
        canary_header=("X-Try", "yes") if has_header else None,
    )
    entries = build_entries(INSTANCE, [route], step, PLACES)
    assert not find_problems(RouteTable(entries), {"web": False})
    wanted = step if has_host or has_header else replace(step, preview=())
    assert read_step(entries) == wanted
