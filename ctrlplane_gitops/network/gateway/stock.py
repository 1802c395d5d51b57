"""What there is in the cluster of the certificates we show: Secrets, ReferenceGrants, listeners."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ctrlplane_gitops.cluster.owner import FIELD_MANAGER
from ctrlplane_gitops.network.gateway.config import GatewayConfig
from ctrlplane_gitops.network.gateway.listener import (
    LABEL_CERTIFICATE,
    LABEL_PLANE,
    NOTE_CERTIFICATE,
    NOTE_DIGEST,
    Place,
    Shown,
    listener_names,
    needs_grant,
    render_grant,
    render_listeners,
)
from ctrlplane_gitops.state.key import ResourceKey, parse_address
from ctrlplane_gitops.value import field, replace, struct

if TYPE_CHECKING:
    from ctrlplane_gitops.cluster.api import Api

_PROGRAMMED = "Programmed"
_SAID_OF_LISTENERS = ("Accepted", "ResolvedRefs", _PROGRAMMED)


@struct
class SecretSeen:
    """A Secret of ours, without what is in it. ``strangers`` are others who have written into it,
    so that it may show anything; ``certificate`` None: whose it is cannot be read."""

    place: Place
    uid: str
    labels: Mapping[str, str]
    certificate: ResourceKey | None
    digest: str
    strangers: tuple[str, ...]


@struct
class GrantSeen:
    place: Place
    uid: str
    labels: Mapping[str, str]
    spec: Mapping[str, Any]


@struct
class Stock:
    """``listeners`` are ours, by name, and ``others`` the rest of the Gateway's; ``statuses`` what
    the Gateway says of each, ``generation`` its own. ``is_there``: there is such a Gateway."""

    secrets: Mapping[Place, SecretSeen] = field(default_factory=dict)
    grants: Mapping[Place, GrantSeen] = field(default_factory=dict)
    listeners: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    others: tuple[Mapping[str, Any], ...] = ()
    statuses: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    generation: int = 0
    is_there: bool = False

    def digests(self) -> dict[ResourceKey, str]:
        """Of the certificates that are shown as we wrote them."""
        return {
            item.certificate: item.digest
            for item in self.secrets.values()
            if item.certificate is not None and not item.strangers
        }


def read_stock(api: Api, plane: str, config: GatewayConfig) -> Stock:
    """In three calls; no key leaves the server."""
    from ctrlplane_gitops.cluster.resource import REFERENCE_GRANT, SECRET

    labels = {LABEL_PLANE: plane, LABEL_CERTIFICATE: ""}
    secrets = api.read_all(SECRET, labels, _read_secret, is_meta=True)
    grants = api.read_all(REFERENCE_GRANT, labels, _read_grant)
    return replace(
        read_gateway(api, plane, config),
        secrets={item.place: item for item in secrets},
        grants={item.place: item for item in grants},
    )


def read_gateway(api: Api, plane: str, config: GatewayConfig) -> Stock:
    """The listeners alone, and what is said of them."""
    from ctrlplane_gitops.cluster.resource import GATEWAY

    gateway = api.get(GATEWAY, config.namespace, config.name)
    if gateway is None:
        return Stock()
    ours, others = {}, []
    for item in gateway["spec"].get("listeners") or ():
        if str(item["name"]).startswith(f"{plane}."):
            ours[str(item["name"])] = item
        else:
            others.append(item)
    said = (gateway.get("status") or {}).get("listeners") or ()
    statuses = {str(item["name"]): item for item in said}
    generation = int(gateway["metadata"].get("generation") or 0)
    return Stock({}, {}, ours, tuple(others), statuses, generation, is_there=True)


def _read_secret(raw: Mapping[str, Any]) -> SecretSeen:
    metadata = raw["metadata"]
    notes = metadata.get("annotations") or {}
    try:
        certificate = parse_address(notes.get(NOTE_CERTIFICATE, ""))
    except ValueError:
        certificate = None
    return SecretSeen(
        (metadata["namespace"], metadata["name"]),
        metadata["uid"],
        metadata.get("labels") or {},
        certificate,
        str(notes.get(NOTE_DIGEST, "")),
        tuple(sorted(set(_strangers(metadata)))),
    )


def _strangers(metadata: Mapping[str, Any]) -> Iterator[str]:
    for item in metadata.get("managedFields") or ():
        if item.get("manager") != FIELD_MANAGER and "f:data" in (item.get("fieldsV1") or {}):
            yield str(item.get("manager"))


def _read_grant(raw: Mapping[str, Any]) -> GrantSeen:
    metadata = raw["metadata"]
    place = metadata["namespace"], metadata["name"]
    return GrantSeen(place, metadata["uid"], metadata.get("labels") or {}, raw.get("spec") or {})


def find_damage(
    plane: str, config: GatewayConfig, shown: Iterable[Shown], stock: Stock
) -> dict[Shown, tuple[str, ...]]:
    """What is missing or was changed of what each entry needs to show its certificate."""
    shown = list(shown)
    wanted = render_listeners(plane, config, shown)
    found = {item: tuple(_damage(plane, config, item, stock, wanted)) for item in shown}
    return {item: texts for item, texts in found.items() if texts}


def _damage(
    plane: str,
    config: GatewayConfig,
    item: Shown,
    stock: Stock,
    wanted: Mapping[str, Mapping[str, Any]],
) -> Iterator[str]:
    name, secret = "/".join(item.secret), stock.secrets.get(item.secret)
    if secret is None or secret.certificate != item.certificate:
        yield f"Secret {name} is missing"
    elif secret.strangers:
        yield f"Secret {name}: it was changed (set by {', '.join(secret.strangers)})"
    if needs_grant(config, item.secret):
        grant = stock.grants.get(item.secret)
        if grant is None:
            yield f"ReferenceGrant {name} is missing"
        elif grant.spec != render_grant(plane, config, item)["spec"]:
            yield f"ReferenceGrant {name}: it was changed"
    where = f"Gateway {config.namespace}/{config.name}"
    for listener in listener_names(plane, item.entry):
        if listener not in stock.listeners:
            yield f"{where} has no listener {listener}"
        elif stock.listeners[listener] != wanted[listener]:
            yield f"listener {listener} of {where}: it was changed"


def find_leftovers(
    plane: str, config: GatewayConfig, shown: Iterable[Shown], stock: Stock
) -> set[str]:
    """What nobody needs any more: an apply did not come to its end."""
    shown = list(shown)
    places = {item.secret for item in shown}
    granted = {place for place in places if needs_grant(config, place)}
    names = render_listeners(plane, config, shown)
    found = {f"Secret {'/'.join(place)}" for place in stock.secrets.keys() - places}
    found |= {f"ReferenceGrant {'/'.join(place)}" for place in stock.grants.keys() - granted}
    return found | {f"listener {name}" for name in stock.listeners.keys() - names.keys()}


def judge_listeners(config: GatewayConfig, names: Iterable[str], stock: Stock) -> tuple[str, str]:
    """Why the Gateway does not have these listeners of ours in force, and what it has not said
    yet of them."""
    refusals, waits = [], []
    where = f"Gateway {config.namespace}/{config.name}"
    for name in names:
        said = stock.statuses.get(name, {}).get("conditions") or ()
        conditions = {item["type"]: item for item in said}
        for kind in _SAID_OF_LISTENERS:
            item = conditions.get(kind)
            if item is None and kind == _PROGRAMMED:
                continue
            if item is None or int(item.get("observedGeneration") or 0) < stock.generation:
                waits.append(f"{where} has not said {kind} of listener {name}")
            elif item.get("status") != "True":
                text = f"{item.get('reason', kind)}: {item.get('message', '')}".rstrip(": ")
                refusals.append(f"listener {name}: {text}")
    return "; ".join(dict.fromkeys(refusals)), "; ".join(waits)
