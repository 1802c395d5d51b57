"""Until when routes can be answered over TLS. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ctrlplane_gitops.clock import rfc3339
from ctrlplane_gitops.state.desired import DesiredInstance
from ctrlplane_gitops.state.key import Kind, ResourceKey
from ctrlplane_gitops.state.recorded import RecordedState
from ctrlplane_gitops.value import struct

Ends = Mapping[ResourceKey, datetime]


@struct
class CertificateStatus:
    """What a route shows for its hosts. ``not_after`` is None where that is not known;
    ``is_issued``: by us, else it is a secret's."""

    route: ResourceKey
    hosts: tuple[str, ...]
    not_after: datetime | None
    is_issued: bool


def find_certificates(
    instance: DesiredInstance | None, recorded: RecordedState, ends: Ends
) -> tuple[CertificateStatus, ...]:
    """Those of an instance's routes. What is issued is as it was last shown; ``ends`` are those of
    secrets."""
    return tuple(
        CertificateStatus(
            route.key,
            tuple(sorted({*route.hosts, *route.preview_hosts})),
            _end_of(route.certificate, recorded, ends),
            route.certificate.kind is Kind.CERTIFICATE,
        )
        for route in (instance.routes if instance else ())
        if route.certificate is not None
    )


def _end_of(key: ResourceKey, recorded: RecordedState, ends: Ends) -> datetime | None:
    known = recorded.resources.get(key)
    if key.kind is Kind.SECRET or known is None:
        return ends.get(key)
    text = known.attributes.get("notAfter")
    return datetime.fromisoformat(text).astimezone(UTC) if isinstance(text, str) else None


def describe_certificate(item: CertificateStatus) -> str:
    """
    >>> from ctrlplane_gitops.state.key import parse_address
    >>> key = parse_address("route/acme/web")
    >>> describe_certificate(CertificateStatus(key, ("a.test",), None, is_issued=True))
    'route/acme/web: certificate not there yet (a.test)'
    """
    hosts = ", ".join(item.hosts[:3]) + (" ..." if len(item.hosts) > 3 else "")
    end = "not known" if not item.is_issued else "not there yet"
    if item.not_after is not None:
        end = f"until {item.not_after:%Y-%m-%d}"
    return f"{item.route}: certificate {end} ({hosts})"


def certificate_as_json(item: CertificateStatus) -> dict[str, Any]:
    return {
        "route": item.route.address,
        "hosts": list(item.hosts),
        "expires_at": None if item.not_after is None else rfc3339(item.not_after),
        "is_issued": item.is_issued,
    }
