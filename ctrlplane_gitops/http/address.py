"""Whom a target of the specs may be: its addresses, those refused that are nobody's business, and
a connection to one of them before a deadline."""

from __future__ import annotations

import ipaddress
import socket
from functools import lru_cache

from ctrlplane_gitops.clock import monotonic_s

# The one metadata service that is not link-local.
_METADATA = frozenset({ipaddress.ip_address("fd00:ec2::254")})


class AddressError(Exception):
    """A host does not resolve, or to an address that is refused; the text says which."""


def resolve(host: str, port: int) -> list[tuple[str, int]]:
    """Numeric addresses of ``host``; AddressError for link-local and metadata addresses."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, OverflowError):
        raise AddressError(f"the host {host!r} does not resolve") from None
    addresses = list(dict.fromkeys((str(item[4][0]), port) for item in found))
    for text, _ in addresses:
        check_address(text)
    return addresses


@lru_cache(4096)
def is_address(text: str) -> bool:
    """Whether this is an address rather than a name, which would have to be looked up."""
    try:
        ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True


@lru_cache(4096)
def check_address(text: str) -> None:
    """AddressError for a numeric address that no check has business with."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    if address.is_link_local or address in _METADATA:
        raise AddressError(f"{address} is a link-local or metadata address, which is refused")


def dial(host: str, port: int, deadline: float) -> socket.socket:
    """A connection to the first address that takes one. ``deadline`` is a time of ``monotonic_s``.
    AddressError; OSError and TimeoutError of the last address."""
    failure: OSError = OSError("no address")
    for address in resolve(host, port):
        # The checked address itself is dialled: a second lookup could answer something else.
        try:
            return socket.create_connection(address, timeout=time_left(deadline))
        except OSError as error:
            failure = error
    raise failure


def time_left(deadline: float) -> float:
    """Seconds until then; TimeoutError when there are none."""
    left = deadline - monotonic_s()
    if left <= 0:
        raise TimeoutError
    return left


def explain(failure: OSError) -> str:
    """Why a connection failed, in small letters."""
    return (failure.strerror or type(failure).__name__).lower()
