"""A route table as a value: is it sound, what is it called, what changed in it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from itertools import pairwise

from ctrlplane_gitops.errors import ProviderError
from ctrlplane_gitops.network.certificate import parse_pem
from ctrlplane_gitops.network.codec import encode_entry
from ctrlplane_gitops.redact import SecretValue
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.traffic import Backend, RouteEntry, RouteTable

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_PATH = re.compile(r"/|(/[A-Za-z0-9._~!$&'()*+,;=:@%-]+)+")
_TOKEN = re.compile(r"[A-Za-z0-9-]{1,64}")
_HEADER_VALUE = re.compile(r"[A-Za-z0-9._~:/@=+-]{1,128}")


def describe(entry: RouteEntry) -> str:
    """The entry's address; its variant in brackets.

    >>> from ctrlplane_gitops.state.key import parse_address
    >>> key = parse_address("route/acme/web")
    >>> describe(RouteEntry(key, key, (), "/", (), variant="preview"))
    'route/acme/web (preview)'
    """
    return f"{entry.key} ({entry.variant})" if entry.variant else entry.key.address


def is_host(name: str) -> bool:
    """Whether it is a lower case host name or an address."""
    try:
        ip_address(name)
    except ValueError:
        return len(name) <= 253 and all(map(_LABEL.fullmatch, name.split(".")))
    return True


def find_problems(
    table: RouteTable, entry_points: Mapping[str, bool], *, is_shared: bool = False
) -> tuple[str, ...]:
    """Everything no router may be told, each a sentence that begins with the address.
    ``entry_points`` are the router's, and whether each speaks TLS. ``is_shared``: the replicas of a
    release may answer at one address, behind a balancer of their own."""
    found = [
        f"{describe(entry)}: {problem}"
        for entry in table.entries
        for problem in _find_in_entry(entry, entry_points, is_shared)
    ]
    places = [(entry.key, entry.variant) for entry in table.entries]
    for before, after in pairwise(places):
        if before == after:
            found.append(f"{after[0]}: it is in the table twice")
        elif before > after:
            found.append(f"{after[0]}: the table is not sorted")
    return (*found, *_find_conflicts(table))


def require_sound(
    table: RouteTable,
    entry_points: Mapping[str, bool],
    certificates: Mapping[ResourceKey, SecretValue],
    *,
    is_shared: bool = False,
) -> None:
    """ProviderError with all problems of the table, a certificate that is missing or
    cannot be used included."""
    needed = {entry.certificate for entry in table.entries if entry.certificate is not None}
    problems = [*find_problems(table, entry_points, is_shared=is_shared)]
    for key in sorted(needed):
        if key not in certificates:
            problems.append(f"{key}: the certificate has no value")
            continue
        try:
            parse_pem(certificates[key])
        except ValueError as error:
            problems.append(f"{key}: {error}")
    if problems:
        raise ProviderError(f"the route table is refused: {'; '.join(problems)}")


def _find_conflicts(table: RouteTable) -> Iterator[str]:
    owners: dict[tuple[str, str, str], RouteEntry] = {}
    for entry in table.entries:
        for host in entry.hosts:
            place = (entry.entry_point, host, entry.path)
            owner = owners.setdefault(place, entry)
            if owner is not entry:
                yield (
                    f"{describe(entry)}: {host}{entry.path} on {entry.entry_point!r}"
                    f" is already that of {describe(owner)}"
                )


def _find_in_entry(
    entry: RouteEntry, entry_points: Mapping[str, bool], is_shared: bool
) -> Iterator[str]:
    if not all(map(_LABEL.fullmatch, (entry.key.tenant, entry.key.name, entry.variant or "x"))):
        yield "its names are not DNS labels"
    if not entry.hosts or list(entry.hosts) != sorted(set(entry.hosts)):
        yield "its hosts are not a sorted list without duplicates"
    for host in entry.hosts:
        if not is_host(host):
            yield f"{host!r} is not a host name in lower case"
    if not _PATH.fullmatch(entry.path) or {".", ".."} & set(entry.path.split("/")):
        yield f"{entry.path!r} is not a path such as '/' or '/api'"
    if entry.entry_point not in entry_points:
        known = ", ".join(sorted(entry_points))
        yield f"the router has no entry point {entry.entry_point!r} (it has {known})"
    elif entry.certificate is not None and not entry_points[entry.entry_point]:
        yield f"a certificate, but the entry point {entry.entry_point!r} has no TLS"
    yield from _find_in_backends(entry.backends, is_shared)
    yield from _find_in_rules(entry)


def _find_in_backends(backends: tuple[Backend, ...], is_shared: bool) -> Iterator[str]:
    releases = [backend.release for backend in backends]
    if releases != sorted(set(releases)) or any(release < 0 for release in releases):
        yield "its releases are not sorted or not different"
    total = sum(backend.weight for backend in backends)
    if total != 100 or any(not 0 <= backend.weight <= 100 for backend in backends):
        yield f"the weights sum to {total}, not 100"
    for backend in backends:
        members = list(backend.members)
        if members != sorted(set(members)):
            yield f"the members of v{backend.release} are not sorted or not different"
        places = {(member.host, member.port) for member in members}
        if len(places) < len(members) and not is_shared:
            yield f"two members of v{backend.release} have one address"
        for member in members:
            if not is_host(member.host) or not 0 < member.port < 65536:
                yield f"{member.host}:{member.port} ({member.replica}) is not an address"


def _find_in_rules(entry: RouteEntry) -> Iterator[str]:
    header, health = entry.header, entry.health
    if header is not None:
        if header.release not in {backend.release for backend in entry.backends}:
            yield f"its header rule leads to v{header.release}, which is no backend of it"
        if not _TOKEN.fullmatch(header.name) or not _HEADER_VALUE.fullmatch(header.value):
            yield f"the header {header.name!r}: {header.value!r} cannot be matched safely"
    if health is not None:
        if not _PATH.fullmatch(health.path):
            yield f"{health.path!r} is not a path to check health at"
        if min(health.interval, health.timeout).total_seconds() <= 0:
            yield "its health check takes no time"


def fingerprint(
    table: RouteTable, certificates: Mapping[ResourceKey, SecretValue] | None = None
) -> str:
    """The generation: 16 hex digits over the canonical JSON of the table and keyed digests of the
    certificates it uses.

    >>> fingerprint(RouteTable()) == fingerprint(RouteTable(), {})
    True
    """
    return fingerprint_shown(table, digest_certificates(certificates or {}))


def digest_certificates(certificates: Mapping[ResourceKey, SecretValue]) -> dict[ResourceKey, str]:
    return {key: value.digest(f"router/{key}") for key, value in certificates.items()}


def fingerprint_shown(table: RouteTable, digests: Mapping[ResourceKey, str]) -> str:
    """The generation, from the digests of the certificates: where one is shown its value is not to
    be read for that."""
    used = {entry.certificate for entry in table.entries} & set(digests)
    content = {
        "entries": [encode_entry(entry) for entry in table.entries],
        "certificates": {key.address: digests[key] for key in used if key is not None},
    }
    text = json.dumps(content, separators=(",", ":"), sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def diff_tables(before: RouteTable, after: RouteTable) -> tuple[str, ...]:
    """What changes, in words, sorted by address."""
    old = {(entry.key, entry.variant): entry for entry in before.entries}
    new = {(entry.key, entry.variant): entry for entry in after.entries}
    lines: list[str] = []
    for place in sorted(old.keys() | new.keys()):
        if place not in new:
            lines.append(f"{describe(old[place])}: removed")
        elif place not in old:
            lines.append(f"{describe(new[place])}: added, {_shares(new[place])}")
        else:
            name = describe(new[place])
            lines += [f"{name}: {change}" for change in _diff_entry(old[place], new[place])]
    return tuple(lines)


def _shares(entry: RouteEntry) -> str:
    """
    >>> from ctrlplane_gitops.state.key import parse_address
    >>> key = parse_address("route/acme/web")
    >>> _shares(RouteEntry(key, key, (), "/", (Backend(1, 90), Backend(2, 10))))
    'v1 90%, v2 10%'
    """
    return ", ".join(f"v{backend.release} {backend.weight}%" for backend in entry.backends)


def _diff_entry(before: RouteEntry, after: RouteEntry) -> Iterator[str]:
    if _shares(before) != _shares(after):
        yield f"{_shares(before)} -> {_shares(after)}"
    old = {backend.release: set(backend.members) for backend in before.backends}
    new = {backend.release: set(backend.members) for backend in after.backends}
    for release in sorted(old.keys() | new.keys()):
        gone = old.get(release, set()) - new.get(release, set())
        come = new.get(release, set()) - old.get(release, set())
        yield from (f"v{release} without {member.replica}" for member in sorted(gone))
        yield from (f"v{release} with {member.replica}" for member in sorted(come))
    fields = ("instance", "hosts", "path", "entry_point", "strip_prefix", "certificate")
    for name in (*fields, "is_sticky", "header", "health"):
        if getattr(before, name) != getattr(after, name):
            yield f"{name.removeprefix('is_').replace('_', ' ')} changed"
