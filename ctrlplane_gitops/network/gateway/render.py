"""Entries of a route table as HTTPRoutes. Pure.

One HTTPRoute an entry, in the namespace of the Services it leads to: a route into another one would
need a ReferenceGrant there, which is to say a right to hand out rights. All that the API would fill
in is written out, so that what is there can be compared with what should be.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any

from ctrlplane_gitops.network.codec import encode_entry
from ctrlplane_gitops.network.gateway.config import GatewayConfig
from ctrlplane_gitops.network.gateway.listener import (
    GROUP,
    LABEL_PLANE,
    LABEL_TENANT,
    listener_names,
)
from ctrlplane_gitops.state.traffic import Backend, RouteEntry
from ctrlplane_gitops.value import struct

LABEL_INSTANCE = "ctrlplane.dev/instance"
LABEL_ROUTE = "ctrlplane.dev/route"
# The entry as it was meant: Gateway API has no words for releases and replicas.
NOTE = "ctrlplane.dev/entry"
# A Service that selects nobody: a share with nobody to answer it is a 503, as everywhere else.
NOBODY, NOBODY_PORT = "ctrlplane-nobody", 80
_NOBODY_SELECTOR = {"ctrlplane.dev/nobody": "true"}
# RFC 6761: no such name is ever anybody's.
NOWHERE = "ctrlplane-gitops.invalid"
_SERVICE = re.compile(r"([a-z0-9][-a-z0-9]*)\.([a-z0-9][-a-z0-9]*)\.svc(\..+)?")


class UnservableError(ValueError):
    """Why an entry cannot be an HTTPRoute; in words."""


@struct
class Target:
    """A Service, by its port's number."""

    service: str
    port: int


@struct
class Placement:
    """``namespace`` None: nobody answers, so nothing says where. ``targets`` are by release; who
    has no member has none."""

    namespace: str | None
    targets: Mapping[int, Target]


def place(entry: RouteEntry) -> Placement:
    """Where an entry is to be and what its releases are there, from what its members say of
    themselves: they answer at ``<service>.<namespace>.svc``, all of a release at one Service.
    UnservableError."""
    if entry.is_sticky:
        raise UnservableError("Gateway API keeps no client with a replica (sticky)")
    for host in entry.hosts:
        if _is_address(host):
            raise UnservableError(f"{host} is an address, and Gateway API takes names alone")
    namespaces: set[str] = set()
    targets: dict[int, Target] = {}
    for backend in entry.backends:
        found = _find_target(backend)
        if found is not None:
            namespaces.add(found[0])
            targets[backend.release] = found[1]
    if len(namespaces) > 1:
        raise UnservableError(f"its replicas are in several namespaces: {sorted(namespaces)}")
    return Placement(next(iter(namespaces), None), targets)


def _find_target(backend: Backend) -> tuple[str, Target] | None:
    found = set()
    for member in backend.members:
        match = _SERVICE.fullmatch(member.host)
        if match is None:
            raise UnservableError(
                f"{member.replica} answers at {member.host}, which is no Service of the cluster"
            )
        found.add((match[2], Target(match[1], member.port)))
    if len(found) > 1:
        raise UnservableError(f"the replicas of v{backend.release} are not those of one Service")
    return next(iter(found), None)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def route_name(entry: RouteEntry) -> str:
    """
    >>> from ctrlplane_gitops.state.key import parse_address
    >>> key = parse_address("route/acme/web")
    >>> route_name(RouteEntry(key, key, (), "/", (), variant="preview"))
    'web.preview'
    """
    return f"{entry.key.name}.{entry.variant}" if entry.variant else entry.key.name


def render_route(
    plane: str, config: GatewayConfig, entry: RouteEntry, placement: Placement, namespace: str
) -> dict[str, Any]:
    """``namespace`` is where it is to be, also if its placement does not say."""
    return {
        "metadata": {
            "name": route_name(entry),
            "namespace": namespace,
            "labels": {
                LABEL_PLANE: plane,
                LABEL_TENANT: entry.key.tenant,
                LABEL_INSTANCE: entry.instance.name,
                LABEL_ROUTE: entry.key.name,
            },
            "annotations": {NOTE: render_note(entry)},
        },
        "spec": render_spec(plane, config, entry, placement),
    }


def render_note(entry: RouteEntry) -> str:
    return json.dumps(encode_entry(entry), separators=(",", ":"), sort_keys=True)


def render_spec(
    plane: str, config: GatewayConfig, entry: RouteEntry, placement: Placement
) -> dict[str, Any]:
    rules = [_rule(entry, _shares(entry, placement), None)]
    header = entry.header
    if header is not None:
        match = {"type": "Exact", "name": header.name, "value": header.value}
        asked = _reference(placement.targets.get(header.release), 1)
        rules.insert(0, _rule(entry, [asked], match))
    spec = {
        "parentRefs": render_parents(plane, config, entry),
        "hostnames": list(entry.hosts),
        "rules": rules,
    }
    if config.listeners[entry.entry_point].probe is not None:
        rules.insert(0, _answer_probes(entry, spec))
    return spec


def probe_path(entry: RouteEntry) -> str:
    """Where an entry point tells what it serves of a route.

    >>> from ctrlplane_gitops.state.key import parse_address
    >>> key = parse_address("route/acme/web")
    >>> probe_path(RouteEntry(key, key, (), "/", ()))
    '/.well-known/ctrlplane-gitops/acme/web'
    """
    return f"/.well-known/ctrlplane-gitops/{entry.key.tenant}/{route_name(entry)}"


def _answer_probes(entry: RouteEntry, spec: Mapping[str, Any]) -> dict[str, Any]:
    """A rule that names, by a redirect to nowhere, the HTTPRoute it is of: who meets it meets all
    the others as they are written here. Every Gateway has to know redirects to another host."""
    text = json.dumps(spec, separators=(",", ":"), sort_keys=True)
    host = f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.{NOWHERE}"
    redirect = {"hostname": host, "statusCode": 302}
    return {
        "matches": [{"path": {"type": "Exact", "value": probe_path(entry)}}],
        "filters": [{"type": "RequestRedirect", "requestRedirect": redirect}],
    }


def render_parents(plane: str, config: GatewayConfig, entry: RouteEntry) -> list[dict[str, Any]]:
    """The listeners it is served by: the Gateway's own, or one of ours for each host."""
    parent = {"group": GROUP, "kind": "Gateway"}
    parent |= {"namespace": config.namespace, "name": config.name}
    listener = config.listeners[entry.entry_point]
    names = [listener.name] if listener.port is None else listener_names(plane, entry)
    return [parent | ({} if name is None else {"sectionName": name}) for name in names]


def _rule(
    entry: RouteEntry, backends: list[dict[str, Any]], header: dict[str, Any] | None
) -> dict[str, Any]:
    match: dict[str, Any] = {"path": {"type": "PathPrefix", "value": entry.path}}
    if header is not None:
        match["headers"] = [header]
    rule: dict[str, Any] = {"matches": [match], "backendRefs": backends}
    if entry.strip_prefix and entry.path != "/":
        path = {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}
        rule["filters"] = [{"type": "URLRewrite", "urlRewrite": {"path": path}}]
    return rule


def _shares(entry: RouteEntry, placement: Placement) -> list[dict[str, Any]]:
    """Who has neither a share nor a Service is left out."""
    return [
        _reference(placement.targets.get(item.release), item.weight)
        for item in entry.backends
        if item.weight or item.release in placement.targets
    ]


def _reference(target: Target | None, weight: int) -> dict[str, Any]:
    service = target or Target(NOBODY, NOBODY_PORT)
    return {
        "group": "",
        "kind": "Service",
        "name": service.service,
        "port": service.port,
        "weight": weight,
    }


def has_nobody(spec: Mapping[str, Any]) -> bool:
    """Whether a share of the requests is to be answered by nobody."""
    return any(
        item["name"] == NOBODY for rule in spec["rules"] for item in rule.get("backendRefs", ())
    )


def render_nobody(plane: str, tenant: str, namespace: str) -> dict[str, Any]:
    """The Service that such shares lead to. It has a selector, which nobody answers to: without one
    it would have no list of endpoints at all, which is more than a Gateway may take."""
    return {
        "metadata": {
            "name": NOBODY,
            "namespace": namespace,
            "labels": {LABEL_PLANE: plane, LABEL_TENANT: tenant},
        },
        "spec": {
            "ports": [{"name": "http", "port": NOBODY_PORT, "protocol": "TCP"}],
            "selector": _NOBODY_SELECTOR,
        },
    }
