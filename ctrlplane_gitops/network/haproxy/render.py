"""A shape and its seats as HAProxy's configuration and maps. Pure.

A request's host and path are looked up in the map of routes (longest prefix), the route's set in
that of the state: by a rule (header, cookie), the only one with a weight, or the next of a hundred
slots dealt out in turn. So a set's share does not depend on how many of its servers are up.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping

from ctrlplane_gitops.network.codec import encode_entry
from ctrlplane_gitops.network.haproxy.place import Place
from ctrlplane_gitops.network.haproxy.seat import Seats
from ctrlplane_gitops.network.haproxy.shape import (
    SET_NAMES,
    RouteShape,
    Shape,
    encode_shape,
    slug_of,
)
from ctrlplane_gitops.state.traffic import RouteEntry, RouteTable

ONWARD = "onward"
SHAPE_MARK = "# shape: "
# In a second: what durations are summed up in, in 32 bits.
TICKS = 10_000
_SLOTS = 100
_COOKIE = "Path=/;\\ HttpOnly;\\ SameSite=Lax"


def sentinel_host(plane: str, generation: str) -> str:
    """A name nobody owns (RFC 2606); only a router that has the generation answers to it."""
    return f"{generation}.{plane}.ctrlplane.invalid"


def onward_set(plane: str, point: str) -> str:
    """The backend that is this very entry point: of the process that listens there by then."""
    return f"-{ONWARD}.{plane}.{point}"


def loaded_set(plane: str) -> str:
    """The backend that serves nobody: its one server is named as what a process was loaded with."""
    return f"-loaded.{plane}"


def counts_table(plane: str) -> str:
    return f"-counts.{plane}"


def shape_digest(shape: Shape, place: Place) -> str:
    """Names what a process was loaded with; also other when this version writes it otherwise."""
    text = "\n".join((shape.certificate_digest, *_config_lines(shape, {}, {}, place, "-")))
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def render_config(shape: Shape, seats: Seats, addresses: Mapping[str, str], place: Place) -> str:
    """``addresses`` are the IP addresses of members' hosts."""
    digest = shape_digest(shape, place)
    lines = _config_lines(shape, seats, addresses, place, digest)
    return "\n".join((f"{SHAPE_MARK}{encode_shape(shape)}", *lines)) + "\n"


def render_routes(plane: str, table: RouteTable) -> dict[str, str]:
    """The map of routes: every key ends with a slash, and so does what is looked up, so that
    ``/api`` is no beginning of ``/apis``."""
    return {
        f"{entry.entry_point}/{host}{entry.path.rstrip('/')}/": slug_of(plane, entry)
        for entry in table.entries
        for host in entry.hosts
    }


def render_state(plane: str, table: RouteTable, seats: Seats, generation: str) -> dict[str, str]:
    """The map of the state: where each route's requests go, and what the rest of us must know."""
    lines = {f"gen|{sentinel_host(plane, generation)}": generation}
    for entry in table.entries:
        slug = slug_of(plane, entry)
        sets = {seat.release: name for name, seat in seats.items() if _slug(name) == slug}
        lines |= _shares(slug, entry, sets)
        if entry.header is not None:
            lines[f"{slug}:header"] = sets[entry.header.release]
        note = encode_entry(entry)
        note["backends"] = []
        lines[f"note|{slug}"] = _compact(note)
        for release, name in sets.items():
            lines[f"release|{name}"] = f"{slug}.v{release}"
            for server, member in seats[name].servers.items():
                lines[f"server|{name}/{server}"] = _compact(
                    [member.replica, member.host, member.port]
                )
    return lines


def dump_map(lines: Mapping[str, str]) -> str:
    return "".join(f"{key} {value}\n" for key, value in sorted(lines.items()))


def load_map(text: str) -> dict[str, str]:
    """
    >>> load_map(dump_map({"a": "b c", "d": "e"}))
    {'a': 'b c', 'd': 'e'}
    """
    pairs = (line.partition(" ") for line in text.splitlines() if line)
    return {key: value for key, _, value in pairs}


def _slug(name: str) -> str:
    return name.rpartition(".")[0]


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True)


def _shares(slug: str, entry: RouteEntry, sets: Mapping[int, str]) -> dict[str, str]:
    weighted = [backend for backend in entry.backends if backend.weight]
    lines: dict[str, str] = {}
    if entry.is_sticky:
        for backend in weighted:
            name = sets[backend.release]
            lines[f"{slug}={name.rpartition('.')[2]}"] = name
    if len(weighted) == 1:
        return lines | {slug: sets[weighted[0].release]}
    slot = 0
    for backend in weighted:
        for _ in range(backend.weight):
            lines[f"{slug}:{slot}"] = sets[backend.release]
            slot += 1
    return lines


def _config_lines(
    shape: Shape, seats: Seats, addresses: Mapping[str, str], place: Place, digest: str
) -> Iterator[str]:
    routes, plane = shape.routes or {}, place.plane
    defaults = f"from ctrlplane.{plane}"
    yield from _global_lines(place) if place.is_whole else _note_lines(place)
    yield f"defaults ctrlplane.{plane}"
    if not place.is_whole:
        # Where the user's HAProxy writes its log.
        yield from ("  log global", "  option httplog")
    yield from (
        "  mode http",
        "  timeout connect 5s",
        "  timeout client 180s",
        "  timeout http-keep-alive 180s",
        "  timeout server 1h",
        "  timeout tunnel 1d",
        # A member that cannot be connected to costs no request, and its own set answers instead.
        "  retries 3",
        "  option redispatch 1",
        # After a reload a kept connection ends with an answer, not with a reset.
        "  option idle-close-on-response",
        f"backend {loaded_set(plane)} {defaults}",
        f"  server {digest} 127.0.0.1:1 disabled",
        f"backend {_turns_table(plane)} {defaults}",
        "  stick-table type string len 300 size 100k store gpc0",
        f"backend {counts_table(plane)} {defaults}",
        "  stick-table type string len 300 size 100k store gpt0,http_req_cnt,http_fail_cnt",
    )
    for name, address, is_tls in shape.points:
        bind = f"  bind {address if address[0] != ':' else f'*{address}'}"
        if is_tls:
            bind += f" ssl crt-list {place.certificates}/{name}.list strict-sni alpn h2,http/1.1"
        here = {slug: route for slug, route in routes.items() if route.entry_point == name}
        yield from (f"frontend {plane}.{name} {defaults}", bind)
        yield from _frontend_lines(name, here, place)
        near = _near_address(address)
        sni = " ssl verify none sni var(txn.host)" if is_tls else ""
        yield f"backend {onward_set(plane, name)} {defaults}"
        yield f"  server self {near}{sni}"
    for slug, route in routes.items():
        for letter in SET_NAMES[: route.sets]:
            yield f"backend {slug}.{letter} {defaults}"
            yield from _set_lines(slug, f"{slug}.{letter}", route, seats, addresses)


def _global_lines(place: Place) -> Iterator[str]:
    yield from (
        "global",
        f"  stats socket unix@{place.socket.name} mode 600 level admin expose-fd listeners",
        "  hard-stop-after 1h",
    )


def _note_lines(place: Place) -> Iterator[str]:
    yield f"# Routes of control plane {place.plane}, written by ctrlplane-gitops: not to be edited."


def _turns_table(plane: str) -> str:
    return f"-turns.{plane}"


def _near_address(address: str) -> str:
    """Where a process on this machine reaches an entry point.

    >>> _near_address(":80"), _near_address("0.0.0.0:80"), _near_address("10.1.2.3:80")
    ('127.0.0.1:80', '127.0.0.1:80', '10.1.2.3:80')
    """
    host, _, port = address.rpartition(":")
    near = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "[::]": "[::1]"}
    return f"{near.get(host, host)}:{port}"


def _frontend_lines(point: str, routes: Mapping[str, RouteShape], place: Place) -> Iterator[str]:
    state = f"map_str({place.state})"
    turns, counts = _turns_table(place.plane), counts_table(place.plane)
    is_open = "unless { var(txn.set) -m found }"
    request = (
        "set-var(txn.begun) date(0,us)",
        "set-var(txn.host) req.hdr(host),host_only,lower",
        f"set-var(txn.generation) str(gen|),concat(,txn.host),{state}",
        "return status 418 if { var(txn.generation) -m found }",
        "set-var(txn.path) path",
        f"set-var(txn.set) str({ONWARD}|{point}),{state}",
        f"set-var(txn.route) str({point}/),concat(,txn.host),concat(,txn.path,/),"
        f"map_beg({place.routes}) {is_open}",
        "return status 404 unless { var(txn.route) -m found } || { var(txn.set) -m found }",
        # From ourselves or another program here: what it says of the client is all there is.
        "set-header X-Forwarded-For %[src] unless { src 127.0.0.0/8 ::1 }"
        " { req.hdr(X-Forwarded-For) -m found }",
        "set-header X-Forwarded-Host %[req.hdr(host)]",
        "set-header X-Forwarded-Proto %[ssl_fc,iif(https,http)]",
        *_rule_lines(routes),
        f"set-var(txn.set) var(txn.route),concat(:,txn.rule),{state}"
        " if { var(txn.rule) -m found } !{ var(txn.set) -m found }",
        f"set-var(txn.set) var(txn.route),concat(=,txn.cookie),{state}"
        " if { var(txn.cookie) -m found } !{ var(txn.set) -m found }",
        f"set-var(txn.set) var(txn.route),{state} {is_open}",
        f"track-sc0 var(txn.route) table {turns} {is_open}",
        # 37 and 100 have no common divisor: every slot has its turn, the shares interleaved.
        f"set-var(txn.turn) sc0_inc_gpc0({turns}),mul(37),mod({_SLOTS}) {is_open}",
        f"set-var(txn.set) var(txn.route),concat(:,txn.turn),{state} {is_open}",
        f"return status 503 {is_open}",
        "set-var(txn.letter) var(txn.set),field(-1,.)",
        f"set-var(txn.release) str(release|),concat(,txn.set),{state}",
        f"track-sc1 var(txn.release) table {counts} if {{ var(txn.release) -m found }}",
    )
    yield from (f"  http-request {line}" for line in request)
    yield from _response_lines(routes, counts)
    yield "  use_backend %[var(txn.set)]"


def _response_lines(routes: Mapping[str, RouteShape], counts: str) -> Iterator[str]:
    response = (
        f"set-var(txn.sum) sc1_get_gpt0({counts})",
        f"set-var(txn.sum) date(0,us),sub(txn.begun),div({1_000_000 // TICKS}),add(txn.sum)",
        "sc-set-gpt0(1) var(txn.sum)",
    )
    yield from (f"  http-response {line}" for line in response)
    for slug, route in routes.items():
        if route.is_sticky:
            yield (
                f"  http-response add-header Set-Cookie {_cookie(slug)}=%[var(txn.letter)];"
                f"\\ {_COOKIE} if {{ var(txn.route) -m str {slug} }}"
                " !{ var(txn.cookie),strcmp(txn.letter) eq 0 }"
            )


def _rule_lines(routes: Mapping[str, RouteShape]) -> Iterator[str]:
    for slug, route in routes.items():
        is_route = f"{{ var(txn.route) -m str {slug} }}"
        if route.header is not None:
            name, value = route.header
            is_match = f"{{ req.hdr({name}) -m str {value} }}"
            yield f"set-var(txn.rule) str(header) if {is_route} {is_match}"
        if route.is_sticky:
            yield f"set-var(txn.cookie) req.cook({_cookie(slug)}) if {is_route}"


def _set_lines(
    slug: str, name: str, route: RouteShape, seats: Seats, addresses: Mapping[str, str]
) -> Iterator[str]:
    yield "  balance roundrobin"
    if route.strip:
        yield f"  http-request replace-path ^{_quote(route.strip)}(?:/(.*))?$ /\\1"
    if route.is_sticky:
        yield (f"  cookie {_cookie(slug)}-m insert indirect nocache httponly attr SameSite=Lax")
    if route.health is not None:
        path, interval_ms, timeout_ms = route.health
        yield "  option httpchk"
        yield f"  http-check send meth GET uri {path}"
        yield f"  timeout check {timeout_ms}ms"
        yield f"  default-server check inter {interval_ms}ms fall 2 rise 1"
    servers = seats[name].servers if name in seats else {}
    for number in range(1, route.servers + 1):
        server = f"s{number}"
        member = servers.get(server)
        address = "127.0.0.1:1" if member is None else _join(addresses[member.host], member.port)
        cookie = f" cookie {server}" if route.is_sticky else ""
        yield f"  server {server} {address}{cookie}{'' if member else ' disabled'}"


def _join(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _cookie(slug: str) -> str:
    """It differs by route, so that two on one host do not take each other's for theirs."""
    return f"ctrlplane-{hashlib.blake2b(slug.encode(), digest_size=5).hexdigest()}"


def _quote(path: str) -> str:
    """A path as a pattern that matches it and nothing else, in HAProxy's own quoting.

    >>> print(_quote("/a.b"))
    /a\\\\x2eb
    """
    return "".join(
        char if char.isalnum() or char == "/" else f"\\\\x{ord(char):02x}" for char in path
    )
