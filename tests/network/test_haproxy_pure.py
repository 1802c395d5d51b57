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
from ctrlplane_gitops.network.haproxy.config import OwnConfig, parse_config
from ctrlplane_gitops.network.haproxy.place import part_place, whole_place
from ctrlplane_gitops.network.haproxy.read import (
    Master,
    Running,
    Server,
    parse_counts,
    parse_in_flight,
    parse_master,
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
@pytest.mark.parametrize("kind", ["whole", "part"])
def test_haproxy_takes_everything_a_table_may_say(haproxy: str, tmp_path: Path, kind: str) -> None:
    odd = replace(ENTRY, key=route_key("odd"), path="/a.b(c)$&'*+,;=:@%20~!-_", strip_prefix=True)
    table = RouteTable((odd, *RICH.entries))
    seats = assign_seats("p", table, {}, ())
    shape = build_shape("p", POINTS, table, count_seats(seats), "")
    place = {
        "whole": whole_place("p", tmp_path),
        "part": part_place("p", tmp_path, Path("/a"), Path("/b")),
    }[kind]
    place.routes.write_text(dump_map(render_routes("p", table)))
    place.state.write_text(dump_map(render_state("p", table, seats, "g1")))
    place.config.write_text(render_config(shape, seats, {"127.0.0.1": "127.0.0.1"}, place))
    log = tmp_path / "log.cfg"
    log.write_text("global\n  log 127.0.0.1:514 local0\n")
    files = [log, place.config] if kind == "part" else [place.config]
    ran = subprocess.run(
        [haproxy, "-c", "-C", str(tmp_path), *(it for file in files for it in ("-f", str(file)))],
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


def test_of_a_routers_servers_only_those_of_our_sets_are_ours() -> None:
    """The others are the user's, or another control plane's: nobody may change them."""
    text = (
        "1\n# be_id be_name srv_id srv_name srv_addr srv_admin_state srv_port\n"
        "3 -loaded.p 1 d1 127.0.0.1 5 1\n3 -loaded.p2 1 d2 127.0.0.1 5 1\n"
        f"5 {SLUG}.a 1 s1 127.0.0.1 4 80\n5 {SLUG}.a 2 s2 127.0.0.1 5 1\n"
        "6 -onward.p.web 1 self 127.0.0.1 0 9\n7 mine 1 s1 127.0.0.1 0 9\n"
        "8 p.mine 1 s1 127.0.0.1 0 9\n9 p2.acme.web.-.a 1 s1 127.0.0.1 0 9\n"
    )
    assert parse_servers("p", text) == (
        "d1",
        {
            (f"{SLUG}.a", "s1"): Server(("127.0.0.1", 80), True),
            (f"{SLUG}.a", "s2"): Server(("127.0.0.1", 1), False),
        },
    )
    assert parse_servers("p", "Can't find backend.\n") == ("", {})


PROC = """#<PID>  <type>  <reloads>  <uptime>  <version>
12440  master  3 [failed: {failed}]  0d00h00m24s  2.6.12
# workers
12923  worker  1  0d00h00m19s  2.6.12
# old workers
12461  worker  2  0d00h01m19s  2.6.12
12462  worker  3  0d00h01m19s  2.6.12
# programs

"""


def test_what_the_master_says_of_its_processes() -> None:
    assert parse_master(PROC.format(failed=0)) == Master(3, False, ("12923",), ("12461", "12462"))
    failed = parse_master(PROC.format(failed=1))
    assert failed is not None and failed.has_failed
    assert parse_master("Unknown command: 'show proc'\n") is None


OWN = {
    "managed": False,
    "directory": "/etc/haproxy/ctrlplane",
    "socket": "/run/haproxy/admin.sock",
    "masterSocket": "/run/haproxy-master.sock",
    "entryPoints": {"web": ":8080"},
}


def test_one_of_the_users_is_told_where_it_is() -> None:
    more = {"config": ["/etc/haproxy/haproxy.cfg"], "reload": ["systemctl", "reload", "haproxy"]}
    assert parse_config({**OWN, **more}).own == OwnConfig(
        Path("/etc/haproxy/ctrlplane"),
        Path("/run/haproxy/admin.sock"),
        Path("/run/haproxy-master.sock"),
        (Path("/etc/haproxy/haproxy.cfg"),),
        ("systemctl", "reload", "haproxy"),
    )


@pytest.mark.parametrize("name", ["directory", "socket", "masterSocket", "entryPoints"])
def test_what_must_be_known_of_it_is_asked_for_with_the_way_out(name: str) -> None:
    with pytest.raises(UsageError, match=f"{name} is missing") as caught:
        parse_config({key: value for key, value in OWN.items() if key != name})
    assert caught.value.hint


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"socket": "/run/a.sock"}, "socket has no meaning with managed: true"),
        ({**OWN, "socket": "run/a.sock"}, "not an absolute path"),
        ({**OWN, "directory": "/etc/a b"}, "not an absolute path"),
        ({**OWN, "directory": "/etc/a,b)"}, "not an absolute path"),
        ({**OWN, "socket": OWN["masterSocket"]}, "are one"),
        ({**OWN, "reload": "systemctl reload haproxy"}, "reload is not a list of texts"),
        ({**OWN, "reload": []}, "reload is not a list"),
        ({**OWN, "config": [1]}, "config is not a list"),
        ({**OWN, "config": ["haproxy.cfg"]}, "not an absolute path"),
        ({**OWN, "sokcet": "/x"}, "sokcet"),
        ({"api": "http://h"}, "api"),
        ({"binary": 1}, "not a text"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        parse_config(options)
