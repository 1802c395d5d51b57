"""A route table is judged, named and compared as a value."""

from dataclasses import replace
from datetime import timedelta

import pytest

from ctrlplane_gitops.network.codec import decode_table, encode_table
from ctrlplane_gitops.network.conformance import CERTIFICATE, A, B, C, RouterConformance
from ctrlplane_gitops.network.conformance_kit import RouterKit, backend, route_key
from ctrlplane_gitops.network.table import diff_tables, find_problems, fingerprint
from ctrlplane_gitops.redact import SecretValue
from ctrlplane_gitops.state.traffic import (
    Backend,
    HeaderRule,
    Member,
    RouteEntry,
    RouteHealth,
    RouteTable,
)

POINTS = {"web": False, "websecure": True}
SOUND = RouterKit().entry(backend(1, 60, A, B), backend(2, 40, C))
RICH = RouteTable(
    tuple(
        sorted(
            RouterConformance().rich_entries(),
            key=lambda item: (item.key, item.variant),
        )
    )
)
MOMENT = timedelta(seconds=1)


def problems(*entries: RouteEntry) -> str:
    return "; ".join(find_problems(RouteTable(entries), POINTS))


def test_a_sound_table_has_no_problems() -> None:
    assert find_problems(RICH, POINTS) == ()
    assert find_problems(RouteTable(), POINTS) == ()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"backends": (Backend(1, 60), Backend(2, 39))}, "weights sum to 99"),
        ({"backends": (Backend(1, 120), Backend(2, -20))}, "weights sum to 100"),
        ({"backends": ()}, "weights sum to 0"),
        ({"backends": (Backend(2, 50), Backend(1, 50))}, "releases are not sorted"),
        ({"backends": (Backend(1, 50), Backend(1, 50))}, "releases are not sorted"),
        ({"backends": (Backend(1, 100, (B, A)),)}, "members of v1 are not sorted"),
        ({"backends": (Backend(1, 100, (A, A)),)}, "not different"),
        (
            {"backends": (Backend(1, 100, (A, replace(A, replica="z"))),)},
            "members of v1 have one address",
        ),
        ({"backends": (Backend(1, 100, (Member("r", "127.0.0.1", 0),)),)}, "127.0.0.1:0"),
        ({"backends": (Backend(1, 100, (Member("r", "127.0.0.1", 65536),)),)}, ":65536"),
        ({"backends": (Backend(1, 100, (Member("r", "a b", 80),)),)}, "a b:80"),
        ({"hosts": ()}, "hosts are not a sorted list"),
        ({"hosts": ("b.example", "a.example")}, "hosts are not a sorted list"),
        ({"hosts": ("Shop.example",)}, "not a host name in lower case"),
        ({"hosts": ("a`) || PathPrefix(`/",)}, "not a host name"),
        ({"hosts": ("*.example",)}, "not a host name"),
        ({"path": "api"}, "not a path"),
        ({"path": "/api/"}, "not a path"),
        ({"path": "/a//b"}, "not a path"),
        ({"path": "/a/../b"}, "not a path"),
        ({"path": "/a`b"}, "not a path"),
        ({"path": '/a"b'}, "not a path"),
        ({"path": "/a\n"}, "not a path"),
        ({"entry_point": "tcp"}, "(it has web, websecure)"),
        ({"certificate": CERTIFICATE}, "has no TLS"),
        ({"variant": "a.b"}, "not DNS labels"),
        ({"key": route_key("web", "ac.me")}, "not DNS labels"),
        ({"header": HeaderRule("X-A", "b", 3)}, "leads to v3"),
        ({"header": HeaderRule("X-A", "a`b", 1)}, "cannot be matched"),
        ({"header": HeaderRule("X A", "b", 1)}, "cannot be matched"),
        ({"health": RouteHealth("/x y", MOMENT, MOMENT)}, "path to check health"),
        ({"health": RouteHealth("/", timedelta(), MOMENT)}, "takes no time"),
    ],
)
def test_what_no_router_may_be_told_is_a_problem(change: dict, reason: str) -> None:
    assert problems(SOUND) == ""
    found = problems(replace(SOUND, **change))
    assert found.startswith("route/") and reason in found


def test_a_host_and_path_belongs_to_one_entry_of_an_entry_point() -> None:
    other = replace(SOUND, key=route_key("web", "zeta"))
    assert "is already that of route/acme/web" in problems(SOUND, other)
    for apart in ({"path": "/api"}, {"entry_point": "websecure"}, {"hosts": ("z.example",)}):
        assert problems(SOUND, replace(other, **apart)) == ""


def test_entries_are_sorted_and_none_is_there_twice() -> None:
    other = replace(SOUND, key=route_key("api"), hosts=("api.example",))
    assert problems(other, SOUND) == ""
    assert "not sorted" in problems(SOUND, other)
    assert "in the table twice" in problems(SOUND, replace(SOUND, hosts=("z.example",)))


def test_a_table_survives_its_json() -> None:
    assert decode_table(encode_table(RICH)) == RICH


def test_the_generation_is_the_same_in_every_version() -> None:
    assert fingerprint(RouteTable((SOUND,))) == "5c88b36a135eea8c"


def test_the_generation_changes_with_every_field() -> None:
    changes = [
        {"key": route_key("api")},
        {"instance": SOUND.instance._replace(name="api")},
        {"hosts": ("z.example",)},
        {"path": "/x"},
        {"entry_point": "websecure"},
        {"strip_prefix": True},
        {"certificate": CERTIFICATE},
        {"is_sticky": True},
        {"header": HeaderRule("X-A", "b", 1)},
        {"health": RouteHealth("/", MOMENT, MOMENT)},
        {"variant": "preview"},
        {"backends": (backend(1, 61, A, B), backend(2, 39, C))},
        {"backends": (backend(1, 60, A), backend(2, 40, C))},
        {"backends": (backend(1, 60, A, B), backend(2, 40, replace(C, port=9)))},
    ]
    tables = [RouteTable((replace(SOUND, **change),)) for change in changes]
    assert len({fingerprint(table) for table in (RouteTable((SOUND,)), *tables)}) == 15


def test_the_generation_changes_with_a_used_certificate_and_no_other() -> None:
    other = CERTIFICATE._replace(name="other")
    one, two = SecretValue(b"one"), SecretValue(b"two")
    seen = [
        fingerprint(RICH, {CERTIFICATE: one}),
        fingerprint(RICH, {CERTIFICATE: one, other: two}),
        fingerprint(RICH, {CERTIFICATE: two, other: two}),
    ]
    assert seen[0] == seen[1] != seen[2]


def test_a_difference_is_said_in_words() -> None:
    after = replace(SOUND, backends=(backend(1, 0, A), backend(2, 100, B, C)), path="/x")
    preview = replace(SOUND, variant="preview", hosts=("p.example",))
    assert diff_tables(RouteTable((SOUND,)), RouteTable((after, preview))) == (
        "route/acme/web: v1 60%, v2 40% -> v1 0%, v2 100%",
        "route/acme/web: v1 without conf.acme.web.v1.1",
        "route/acme/web: v2 with conf.acme.web.v1.1",
        "route/acme/web: path changed",
        "route/acme/web (preview): added, v1 60%, v2 40%",
    )
    assert diff_tables(RouteTable((SOUND,)), RouteTable()) == ("route/acme/web: removed",)
    assert diff_tables(RICH, RICH) == ()
