"""Listeners of ours at somebody's Gateway, and what they show. Pure.

One listener for each host at which a route shows a certificate: that is what every Gateway does the
same way. The certificate is a Secret beside the route, and a ReferenceGrant of the same name says
that this one Gateway may read this one Secret. All that the API would fill in is written out.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ctrlplane_gitops.network.certificate import Pem
from ctrlplane_gitops.network.gateway.config import GatewayConfig
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.traffic import RouteEntry
from ctrlplane_gitops.value import struct

GROUP = "gateway.networking.k8s.io"
LABEL_PLANE = "ctrlplane.dev/plane"
LABEL_TENANT = "ctrlplane.dev/tenant"
# On a Secret and its ReferenceGrant: what kind of certificate it is.
LABEL_CERTIFICATE = "ctrlplane.dev/certificate"
# Whose it is, and a keyed digest of it, so that nobody has to read a key to see whether it is so.
NOTE_CERTIFICATE = "ctrlplane.dev/address"
NOTE_DIGEST = "ctrlplane.dev/digest"
MOST_LISTENERS = 64
_LONGEST_NAME = 253
# A namespace and a name in it.
Place = tuple[str, str]
Refusals = dict[ResourceKey, str]


@struct
class Shown:
    """An entry that shows a certificate by listeners of ours, and the namespace it is in."""

    entry: RouteEntry
    namespace: str

    @property
    def certificate(self) -> ResourceKey:
        assert self.entry.certificate is not None
        return self.entry.certificate

    @property
    def secret(self) -> Place:
        return self.namespace, secret_name(self.certificate)


def secret_name(certificate: ResourceKey) -> str:
    """No name of a Secret of an instance has a dot.

    >>> from ctrlplane_gitops.state.key import parse_address
    >>> secret_name(parse_address("secret/acme/site"))
    'secret.site.tls'
    """
    return f"{certificate.kind}.{certificate.name}.tls"


def listener_name(plane: str, entry_point: str, host: str) -> str:
    """
    >>> listener_name("prod", "websecure", "a.example")
    'prod.websecure.a.example'
    """
    return f"{plane}.{entry_point}.{host}"


def listener_names(plane: str, entry: RouteEntry) -> list[str]:
    return [listener_name(plane, entry.entry_point, host) for host in entry.hosts]


def find_trouble(plane: str, config: GatewayConfig, entry: RouteEntry) -> str:
    """Why an entry cannot have what it says of certificates; "" where it can."""
    listener, point = config.listeners[entry.entry_point], entry.entry_point
    if listener.port is None and entry.certificate is not None:
        return (
            f"the certificate at {point!r} is that of the Gateway's own listener: leave out tls,"
            f" or write {point}: {{port: 443, tls: true}} for listeners of ours"
        )
    if listener.port is not None and entry.certificate is None:
        return f"the listeners at {point!r} are those of routes with tls"
    if listener.port is not None:
        longest = max(listener_names(plane, entry), key=len, default="")
        if len(longest) > _LONGEST_NAME:
            return f"the name of its listener would be too long: {longest}"
    return ""


def render_listeners(
    plane: str, config: GatewayConfig, shown: Iterable[Shown]
) -> dict[str, dict[str, Any]]:
    """By name."""
    places: dict[tuple[str, str], list[Shown]] = {}
    for item in shown:
        for host in item.entry.hosts:
            places.setdefault((item.entry.entry_point, host), []).append(item)
    return {
        listener_name(plane, *place): _render_listener(plane, config, *place, items)
        for place, items in sorted(places.items())
    }


def _render_listener(
    plane: str, config: GatewayConfig, point: str, host: str, items: list[Shown]
) -> dict[str, Any]:
    references = [
        {"group": "", "kind": "Secret", "namespace": namespace, "name": name}
        for namespace, name in sorted({item.secret for item in items})
    ]
    tenants = sorted({item.entry.key.tenant for item in items})
    selector = {
        "matchLabels": {LABEL_PLANE: plane},
        "matchExpressions": [{"key": LABEL_TENANT, "operator": "In", "values": tenants}],
    }
    return {
        "name": listener_name(plane, point, host),
        "port": config.listeners[point].port,
        "protocol": "HTTPS",
        "hostname": host,
        "tls": {"mode": "Terminate", "certificateRefs": references},
        "allowedRoutes": {
            "namespaces": {"from": "Selector", "selector": selector},
            "kinds": [{"group": GROUP, "kind": "HTTPRoute"}],
        },
    }


def render_gateway(
    config: GatewayConfig, listeners: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """What we say of the Gateway: nothing but our listeners."""
    spec = {"listeners": [listeners[name] for name in sorted(listeners)]} if listeners else {}
    return {"metadata": {"name": config.name, "namespace": config.namespace}, "spec": spec}


def render_secret(plane: str, shown: Shown, pem: Pem, digest: str) -> dict[str, Any]:
    data = {"tls.crt": pem.chain, "tls.key": pem.key}
    return {
        "metadata": _metadata(plane, shown)
        | {"annotations": {NOTE_CERTIFICATE: shown.certificate.address, NOTE_DIGEST: digest}},
        "type": "kubernetes.io/tls",
        "data": {name: base64.b64encode(text.encode()).decode() for name, text in data.items()},
    }


def read_pem(secret: Mapping[str, Any]) -> str:
    """Chain and key of a Secret of type tls, as they were written."""
    data = secret.get("data") or {}
    texts = (base64.b64decode(data.get(name, "")) for name in ("tls.crt", "tls.key"))
    return b"".join(texts).decode("ascii", "replace")


def render_grant(plane: str, config: GatewayConfig, shown: Shown) -> dict[str, Any]:
    return {
        "metadata": _metadata(plane, shown),
        "spec": {
            "from": [{"group": GROUP, "kind": "Gateway", "namespace": config.namespace}],
            "to": [{"group": "", "kind": "Secret", "name": shown.secret[1]}],
        },
    }


def _metadata(plane: str, shown: Shown) -> dict[str, Any]:
    labels = {LABEL_PLANE: plane, LABEL_TENANT: shown.certificate.tenant}
    labels[LABEL_CERTIFICATE] = str(shown.certificate.kind)
    return {"namespace": shown.secret[0], "name": shown.secret[1], "labels": labels}


def needs_grant(config: GatewayConfig, place: Place) -> bool:
    """Whether the Gateway is in another namespace than the Secret."""
    return place[0] != config.namespace


def sort_out_listeners(
    ours: Mapping[str, Mapping[str, Any]],
    wanted: Mapping[str, Mapping[str, Any]],
    others: Iterable[Mapping[str, Any]],
) -> tuple[dict[str, Mapping[str, Any]], dict[str, str]]:
    """Which of the wanted listeners the Gateway can have, and by name why not the rest: the API
    server would refuse all of them for one. Those it has already go before new ones. ``others`` are
    not ours."""
    taken = {spot_of(item): item["name"] for item in others}
    room = MOST_LISTENERS - len(taken)
    found: dict[str, Mapping[str, Any]] = {}
    refused: dict[str, str] = {}
    for name in sorted(wanted, key=lambda name: (name not in ours, name)):
        other = taken.get(spot_of(wanted[name]))
        if other is not None:
            host, port = wanted[name]["hostname"], wanted[name]["port"]
            refused[name] = f"HTTPS for {host} at port {port} is already that of listener {other}"
        elif len(found) >= room:
            refused[name] = f"a Gateway has at most {MOST_LISTENERS} listeners, and all are taken"
        else:
            found[name] = wanted[name]
    return found, refused


def spot_of(listener: Mapping[str, Any]) -> tuple[str, int, str]:
    """What no two listeners of a Gateway may have in common."""
    return listener["protocol"], int(listener["port"]), str(listener.get("hostname", ""))


def refuse_shown(plane: str, shown: Iterable[Shown], refused: Mapping[str, str]) -> Refusals:
    """By route, why listeners it needs are not there."""
    return {
        item.entry.key: "; ".join(reasons)
        for item in shown
        if (reasons := list(_reasons(plane, item, refused)))
    }


def _reasons(plane: str, item: Shown, refused: Mapping[str, str]) -> Iterator[str]:
    for name in listener_names(plane, item.entry):
        if name in refused:
            yield f"listener {name}: {refused[name]}"
