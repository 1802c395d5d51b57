"""Reading ``spec.router``: what all routers' options have in common."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ctrlplane_gitops.diagnostics import did_you_mean
from ctrlplane_gitops.errors import UsageError
from ctrlplane_gitops.network.table import is_host
from ctrlplane_gitops.state.desired import Json
from ctrlplane_gitops.value import struct

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_ADDRESS = re.compile(r"(?:\[(?P<v6>[0-9a-f:.]+)\]|(?P<host>[^:\[\]]*)):(?P<port>\d{1,5})")
_ENTRY_OPTIONS = ("address", "tls")


@struct
class EntryPoint:
    """Where requests come in. An empty ``host`` is every address of the machine."""

    name: str
    host: str
    port: int
    is_tls: bool = False

    @property
    def address(self) -> str:
        """As programs want it.

        >>> EntryPoint("web", "::1", 80).address
        '[::1]:80'
        """
        return f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    @property
    def probe_host(self) -> str:
        """An address of this machine it can be asked at."""
        return {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)


def check_options(router: str, options: Json, known: Collection[str]) -> None:
    """UsageError for an option the router does not have."""
    for option in options:
        if option not in known:
            raise UsageError(
                f"router ({router}) has no option {option!r}",
                hint=did_you_mean(option, sorted(known)),
            )


def parse_entry_points(router: str, options: Json) -> tuple[EntryPoint, ...]:
    """``entryPoints``, sorted by name; ``web`` on port 80 where left out.

    >>> parse_entry_points("traefik", {"entryPoints": {"web": "127.0.0.1:8080"}})
    (EntryPoint(name='web', host='127.0.0.1', port=8080, is_tls=False),)
    """
    raw = options.get("entryPoints", {"web": ":80"})
    if not isinstance(raw, Mapping) or not raw:
        raise UsageError(
            f"router ({router}): entryPoints is not a map of names to addresses",
            hint='for example entryPoints: {web: ":8080"}',
        )
    found = tuple(_parse_address(router, str(name), raw[name]) for name in sorted(raw))
    ports = [(point.host, point.port) for point in found]
    if len(set(ports)) < len(ports):
        raise UsageError(f"router ({router}): two entry points have one address")
    return found


def parse_entry_point(
    router: str, name: str, raw: Any, short: str, known: Sequence[str]
) -> tuple[Mapping[str, Any], bool]:
    """What is said of one entry point, and whether it speaks TLS. ``short`` is the option that is
    meant where there is no map. UsageError names a bad name or an unknown option.

    >>> parse_entry_point("haproxy", "web", ":80", "address", ("address", "tls"))
    ({'address': ':80'}, False)
    """
    who = f"router ({router}): entry point {name!r}"
    if not _NAME.fullmatch(name):
        raise UsageError(f"{who} is not named in small letters, digits and '-'")
    value = raw if isinstance(raw, Mapping) else {short: raw}
    for option in value:
        if option not in known:
            raise UsageError(
                f"{who} has no option {option!r}", hint=did_you_mean(str(option), known)
            )
    is_tls = value.get("tls", False)
    if not isinstance(is_tls, bool):
        raise UsageError(f"{who}: tls is not true or false")
    return value, is_tls


def _parse_address(router: str, name: str, raw: Any) -> EntryPoint:
    value, is_tls = parse_entry_point(router, name, raw, "address", _ENTRY_OPTIONS)
    match = _ADDRESS.fullmatch(str(value.get("address", "")))
    host = (match["v6"] or match["host"] or "") if match else ""
    if match is None or not 0 < int(match["port"]) < 65536 or (host and not is_host(host)):
        raise UsageError(
            f"router ({router}): entry point {name!r}: {value.get('address')!r} is not an address",
            hint="for example ':8080' or '127.0.0.1:8080'",
        )
    return EntryPoint(name, host, int(match["port"]), is_tls)


def parse_flag(router: str, options: Json, name: str, default: bool) -> bool:
    value = options.get(name, default)
    if not isinstance(value, bool):
        raise UsageError(f"router ({router}): {name} is not true or false")
    return value


def parse_text(router: str, options: Json, name: str) -> str | None:
    value = options.get(name)
    if value is not None and (not isinstance(value, str) or not value):
        raise UsageError(f"router ({router}): {name} is not a text")
    return value
