"""The status as text and as JSON. Pure."""

from __future__ import annotations

from typing import Any

from ctrlplane_gitops.redact import one_line
from ctrlplane_gitops.state.observed import Endpoint
from ctrlplane_gitops.status.certificate import certificate_as_json, describe_certificate
from ctrlplane_gitops.status.table import render_table
from ctrlplane_gitops.status.view import InstanceStatus, StatusDocument

_HEADINGS = ("INSTANCE", "PHASE", "READY", "RELEASE", "TRAFFIC", "PROVIDER", "ENDPOINTS")


def url_of(endpoint: Endpoint) -> str:
    """``http://host:port``; an IPv6 address in brackets."""
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    return f"http://{host}:{endpoint.number}"


def render_status(document: StatusDocument) -> str:
    """A table, and a line for each condition that is worth one. Ends with a newline."""
    title = f"Control plane {document.plane} @ {document.commit[:7] or 'no commit'}"
    if not document.instances:
        return f"{title}\nNo instances.\n"
    # Without a router there is nothing to show of it.
    is_routed = any(item.traffic is not None for item in document.instances)
    columns = [place for place, name in enumerate(_HEADINGS) if is_routed or name != "TRAFFIC"]
    rows = [_row(item) for item in document.instances]
    table = render_table(
        [_HEADINGS[place] for place in columns], [[row[place] for place in columns] for row in rows]
    )
    notes = [
        one_line(f"{item.key.address}: {condition.message}")
        for item in document.instances
        for condition in item.conditions
        if not (condition.type == "Ready" and condition.status == "True") and condition.message
    ]
    shown = [one for item in document.instances for one in item.certificates]
    notes += [one_line(describe_certificate(item)) for item in shown]
    text = f"{title}\n\n{table}"
    return text + "\n" + "".join(f"  {note}\n" for note in notes) if notes else text


def _row(item: InstanceStatus) -> tuple[str, ...]:
    return (
        item.key.address,
        item.phase.value,
        f"{item.ready}/{item.desired}" + (" (autoscaler)" if item.is_autoscaled else ""),
        "-" if item.release is None else f"v{item.release}",
        _traffic(item.traffic),
        item.provider or "-",
        " ".join(url_of(endpoint) for endpoint in item.endpoints) or "-",
    )


def _traffic(shares: tuple[tuple[int, int], ...] | None) -> str:
    """
    >>> _traffic(((1, 90), (2, 10))), _traffic(()), _traffic(None)
    ('v1 90% v2 10%', 'nobody', '-')
    """
    if shares is None:
        return "-"
    return " ".join(f"v{release} {share}%" for release, share in shares) or "nobody"


def status_as_json(document: StatusDocument) -> dict[str, Any]:
    """The shape the README describes: ``{"control_plane", "commit", "instances": [...]}``."""
    return {
        "control_plane": document.plane,
        "commit": document.commit,
        "instances": [_instance_as_json(item) for item in document.instances],
    }


def _instance_as_json(item: InstanceStatus) -> dict[str, Any]:
    return {
        "address": item.key.address,
        "tenant": item.key.tenant,
        "name": item.key.name,
        "provider": item.provider,
        "phase": item.phase.value,
        "release": item.release,
        "revision": item.revision,
        "replicas": {
            "desired": item.desired,
            "ready": item.ready,
            "owner": "autoscaler" if item.is_autoscaled else "specs",
        },
        "traffic": None
        if item.traffic is None
        else [{"release": release, "percent": share} for release, share in item.traffic],
        "endpoints": [
            {"port": endpoint.port, "url": url_of(endpoint)} for endpoint in item.endpoints
        ],
        "certificates": [certificate_as_json(one) for one in item.certificates],
        "conditions": [
            {
                "type": condition.type,
                "status": condition.status,
                "reason": condition.reason,
                "message": condition.message,
            }
            for condition in item.conditions
        ],
    }
