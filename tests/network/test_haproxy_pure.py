"""Who sits where in HAProxy, what it is told, and what is made of its answers."""

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctrlplane_gitops.errors import UsageError
from ctrlplane_gitops.network.conformance import A, B, C, RouterConformance
from ctrlplane_gitops.network.conformance_kit import RouterKit, backend, route_key
from ctrlplane_gitops.network.haproxy.config import parse_config
from ctrlplane_gitops.network.haproxy.read import (
    Running,
    Server,
    parse_counts,
    parse_in_flight,
    parse_servers,
    read_seats,
    read_table,
)
from ctrlplane_gitops.network.haproxy.render import (
    dump_map,
    render_config,
    render_routes,
    render_state,
)
from ctrlplane_gitops.network.haproxy.seat import Seats, assign_seats, count_seats
from ctrlplane_gitops.network.haproxy.shape import (
    build_shape,
    covers,
    decode_shape,
    encode_shape,
)
from ctrlplane_gitops.network.options import EntryPoint
from ctrlplane_gitops.state.traffic import Backend, Member, RouteTable, TrafficCount

KIT = RouterKit()
ENTRY = KIT.entry(backend(1, 90, A, B), backend(2, 10, C))
POINTS = (EntryPoint("web", "", 8080),)
SLUG = "p.acme.web.-"
RICH = RouteTable(
    tuple(
        sorted(
            (
                replace(entry, entry_point="web", certificate=None)
                for entry in RouterConformance().rich_entries()
            ),
            key=lambda item: (item.key, item.variant),
        )
    )
)


def run(table: RouteTable, seats: Seats) -> Running:
    """A process that does all it was told."""
    servers = {
        (name, server): Server((member.host, member.port), True)
        for name, seat in seats.items()
        for server, member in seat.servers.items()
    }
    return Running("", render_routes("p", table), render_state("p", table, seats, "g1"), servers)


def test_what_was_rendered_is_read_back() -> None:
    seats = assign_seats("p", RICH, {}, ())
    running = run(RICH, seats)
    assert read_table(running) == (RICH, ())
    assert read_seats(running.state) == seats
    assert running.generation == "g1"


def test_a_server_that_gets_nothing_is_no_member() -> None:
    table = RouteTable((ENTRY,))
    running = run(table, assign_seats("p", table, {}, ()))
    servers = dict(running.servers)
    servers[(f"{SLUG}.a", "s1")] = Server(("127.0.0.1", A.port), False)
    servers[(f"{SLUG}.b", "s1")] = Server(("127.0.0.1", 999), True)
    (seen,) = read_table(replace(running, servers=servers))[0].entries
    assert [item.members for item in seen.backends] == [(B,), ()]


def test_whoever_has_a_seat_keeps_it() -> None:
    before = assign_seats("p", RouteTable((ENTRY,)), {}, ())
    after = replace(ENTRY, backends=(backend(2, 50, C), backend(3, 50, B)))
    seats = assign_seats("p", RouteTable((after,)), before, ())
    assert seats[f"{SLUG}.b"] == before[f"{SLUG}.b"]
    assert seats[f"{SLUG}.c"].release == 3
    # What is free by now is taken again.
    last = replace(ENTRY, backends=(backend(3, 50, B), backend(4, 50, A)))
    assert assign_seats("p", RouteTable((last,)), seats, ())[f"{SLUG}.a"].release == 4


def test_a_seat_with_requests_in_flight_is_given_to_nobody_else() -> None:
    before = assign_seats("p", RouteTable((ENTRY,)), {}, ())
    gone = replace(ENTRY, backends=(backend(1, 100),))
    between = assign_seats("p", RouteTable((gone,)), before, ())
    after = replace(ENTRY, backends=(backend(1, 100, C),))
    seats = assign_seats("p", RouteTable((after,)), between, [(f"{SLUG}.a", "s1")])
    assert seats[f"{SLUG}.a"].servers == {"s2": C}


def test_a_seat_that_is_served_until_now_is_given_to_nobody_in_the_same_change() -> None:
    """A request may be on its way to it that nobody has counted: its set was idle a moment ago."""
    before = assign_seats(
        "p", RouteTable((replace(ENTRY, backends=(backend(2, 100, C),)),)), {}, ()
    )
    after = RouteTable((replace(ENTRY, backends=(backend(1, 100, A, B),)),))
    busy = [(f"{SLUG}.b", "s1"), (f"{SLUG}.c", "s1")]
    (name,) = assign_seats("p", after, before, busy)
    assert name != f"{SLUG}.a"
    moved = replace(ENTRY, backends=(backend(2, 100, A),))
    assert assign_seats("p", RouteTable((moved,)), before, ())[f"{SLUG}.a"].servers == {"s2": A}


MEMBERS = [Member(f"r{number}", "127.0.0.1", 1000 + number) for number in range(9)]
BACKENDS = st.dictionaries(
    st.integers(1, 4), st.sets(st.sampled_from(MEMBERS), max_size=6), min_size=1, max_size=4
)


@given(st.lists(BACKENDS, min_size=1, max_size=6), st.data())
def test_however_a_route_changes_everybody_has_a_seat_of_its_own(
    steps: list[dict[int, set[Member]]], data: st.DataObject
) -> None:
    seats: Seats = {}
    for step in steps:
        backends = [Backend(release, 0, tuple(sorted(step[release]))) for release in sorted(step)]
        backends[0] = replace(backends[0], weight=100)
        table = RouteTable((replace(ENTRY, backends=tuple(backends)),))
        places = [(name, server) for name, seat in seats.items() for server in seat.servers]
        busy = data.draw(st.sets(st.sampled_from(places))) if places else set()
        before, seats = seats, assign_seats("p", table, seats, busy)
        assert read_table(run(table, seats))[0] == table
        shape = build_shape("p", POINTS, table, count_seats(seats), "")
        assert shape.routes is not None
        for name, seat in seats.items():
            assert "abcdefgh".index(name[-1]) < shape.routes[SLUG].sets
            for server, member in seat.servers.items():
                assert int(server[1:]) <= shape.routes[SLUG].servers
                assert (name, server) not in busy or (name, server) in places
                if (name, server) in places:
                    assert before[name].servers[server] == member


@pytest.mark.parametrize("weights", [(100,), (99, 1), (33, 33, 34), (50, 0, 50)])
def test_of_a_hundred_slots_each_set_has_its_weight(weights: tuple[int, ...]) -> None:
    backends = tuple(Backend(number, weight) for number, weight in enumerate(weights, 1))
    table = RouteTable((replace(ENTRY, backends=backends),))
    (seen,) = read_table(run(table, assign_seats("p", table, {}, ())))[0].entries
    assert seen.backends == backends


def test_a_shape_survives_its_json_and_covers_itself() -> None:
    shape = build_shape("p", POINTS, RICH, {SLUG: (5, 9)}, "d1")
    assert decode_shape(encode_shape(shape)) == shape
    assert covers(shape, shape)
    assert not covers(shape, replace(shape, certificate_digest="d2"))
    assert not covers(shape, replace(shape, points=()))
    less = build_shape("p", POINTS, RouteTable(RICH.entries[1:]), {}, "d1")
    assert covers(shape, less) and not covers(less, shape)


@pytest.mark.haproxy
def test_haproxy_takes_everything_a_table_may_say(haproxy: str, tmp_path: Path) -> None:
    odd = replace(ENTRY, key=route_key("odd"), path="/a.b(c)$&'*+,;=:@%20~!-_", strip_prefix=True)
    table = RouteTable((odd, *RICH.entries))
    seats = assign_seats("p", table, {}, ())
    shape = build_shape("p", POINTS, table, count_seats(seats), "")
    (tmp_path / "routes.map").write_text(dump_map(render_routes("p", table)))
    (tmp_path / "state.map").write_text(dump_map(render_state("p", table, seats, "g1")))
    config = render_config(shape, seats, {"127.0.0.1": "127.0.0.1"}, str(tmp_path))
    (tmp_path / "h.cfg").write_text(config)
    ran = subprocess.run(
        [haproxy, "-c", "-C", str(tmp_path), "-f", str(tmp_path / "h.cfg")],
        capture_output=True,
        text=True,
    )
    assert (ran.returncode, "WARNING" in ran.stderr) == (0, False), ran.stderr


def test_counts_of_variants_add_up_and_others_are_left_out() -> None:
    text = """# table: -counts, type: string, size:102400, used:3
0x1: key=p.acme.web.-.v1 use=0 exp=0 gpt0=15000 http_req_cnt=10 http_fail_cnt=2
0x2: key=p.acme.web.preview.v1 use=0 exp=0 gpt0=5000 http_req_cnt=1 http_fail_cnt=0
0x3: key=p2.acme.web.-.v1 use=0 exp=0 gpt0=1 http_req_cnt=7 http_fail_cnt=7
"""
    assert parse_counts("p", text) == {(route_key("web"), 1): TrafficCount(11, 2, 2.0)}


def test_answers_of_the_socket_are_read_by_their_column_names() -> None:
    stat = "# pxname,svname,scur,addr,\nweb,FRONTEND,3,,\nx.a,s1,2,127.0.0.1:80,\nx.a,s2,0,,\n"
    (found,) = parse_in_flight(stat)
    assert (found.server, found.address, found.requests) == (("x.a", "s1"), "127.0.0.1:80", 2)
    assert parse_in_flight("") == []
    state = (
        "1\n# be_id be_name srv_id srv_name srv_addr srv_admin_state srv_port\n"
        "5 x.a 1 s1 127.0.0.1 4 80\n5 x.a 2 s2 127.0.0.1 5 1\n6 -onward.web 1 self 127.0.0.1 0 9\n"
    )
    assert parse_servers(state) == {
        ("x.a", "s1"): Server(("127.0.0.1", 80), True),
        ("x.a", "s2"): Server(("127.0.0.1", 1), False),
    }


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"managed": False}, "not started by us"),
        ({"api": "http://h"}, "api"),
        ({"binary": 1}, "not a text"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        parse_config(options)
