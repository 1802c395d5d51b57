"""From an HTTPRoute of ours back to the entry it serves, and what the Gateway says of it. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from ctrlplane_gitops.cluster.owner import FIELD_MANAGER
from ctrlplane_gitops.network.codec import decode_entry
from ctrlplane_gitops.network.gateway.config import GatewayConfig
from ctrlplane_gitops.network.gateway.render import (
    NOTE,
    Placement,
    UnservableError,
    place,
    render_parent,
    render_spec,
)
from ctrlplane_gitops.state.traffic import RouteEntry
from ctrlplane_gitops.value import struct

_NEEDED = ("Accepted", "ResolvedRefs")
_NOT_FOUND = "BackendNotFound"


@struct
class Seen:
    """An HTTPRoute of ours. ``entry`` None: its note cannot be read. ``is_as_written``: it says
    what we wrote. ``refusal`` is why the Gateway does not serve it, None: it does, or has not said;
    ``missing`` is the Service it has taken the route without, which is its provider's to mend.
    ``is_judged``: it has said of this very generation, else ``waits_for`` is what is to be said.
    ``strangers`` are others who have set something in its spec."""

    namespace: str
    name: str
    uid: str
    entry: RouteEntry | None
    is_as_written: bool
    spec: Mapping[str, Any]
    labels: Mapping[str, str]
    note: str
    is_judged: bool
    refusal: str | None
    missing: str
    waits_for: str
    strangers: tuple[str, ...]

    @property
    def place(self) -> tuple[str, str]:
        return self.namespace, self.name


def read_route(config: GatewayConfig, raw: Mapping[str, Any]) -> Seen:
    metadata, spec = raw["metadata"], raw.get("spec") or {}
    note = str((metadata.get("annotations") or {}).get(NOTE, ""))
    meant = _read_note(note)
    entry, is_as_written = (None, False) if meant is None else _read_entry(config, *meant, spec)
    point = entry.entry_point if entry is not None else ""
    refusal, missing, waits_for = _judge(config, point, raw)
    return Seen(
        metadata["namespace"],
        metadata["name"],
        metadata["uid"],
        entry,
        is_as_written,
        spec,
        metadata.get("labels") or {},
        note,
        not waits_for,
        refusal,
        missing,
        waits_for,
        tuple(sorted(set(_strangers(metadata)))),
    )


def _read_note(note: str) -> tuple[RouteEntry, Placement] | None:
    try:
        entry = decode_entry(json.loads(note))
        return entry, place(entry)
    except (ValueError, KeyError, TypeError, AttributeError, UnservableError):
        return None


def _read_entry(
    config: GatewayConfig, entry: RouteEntry, placement: Placement, spec: Mapping[str, Any]
) -> tuple[RouteEntry | None, bool]:
    """What is served: the entry as it was meant, or with the hosts, path and weights somebody has
    given it since. None where that is not to be said in a table."""
    if entry.entry_point not in config.listeners:
        return None, False
    if spec == render_spec(config, entry, placement):
        return entry, True
    try:
        found = _follow(entry, placement, spec)
        is_all = render_spec(config, found, placement) == spec
    except (KeyError, IndexError, TypeError, ValueError):
        return None, False
    return (found, False) if is_all else (None, False)


def _follow(entry: RouteEntry, placement: Placement, spec: Mapping[str, Any]) -> RouteEntry:
    rule = spec["rules"][-1]
    weights = {item["name"]: int(item["weight"]) for item in rule["backendRefs"]}
    backends = []
    for backend in entry.backends:
        target = placement.targets.get(backend.release)
        weight = backend.weight if target is None else weights.get(target.service, 0)
        backends.append(replace(backend, weight=weight))
    return replace(
        entry,
        hosts=tuple(spec["hostnames"]),
        path=rule["matches"][0]["path"]["value"],
        backends=tuple(backends),
    )


def _judge(
    config: GatewayConfig, entry_point: str, raw: Mapping[str, Any]
) -> tuple[str | None, str, str]:
    """Why it is refused, which Service it lacks, and what is still to be said of it."""
    if entry_point not in config.listeners:
        return None, "", ""
    parent = render_parent(config, entry_point)
    generation = int(raw["metadata"].get("generation") or 0)
    parents = [
        item
        for item in (raw.get("status") or {}).get("parents") or ()
        if _names(item.get("parentRef") or {}, parent, raw["metadata"]["namespace"])
    ]
    if not parents:
        return None, "", f"Gateway {config.namespace}/{config.name} has not answered"
    refusals: list[str] = []
    missing: list[str] = []
    waits: list[str] = []
    for item in parents:
        conditions = {it["type"]: it for it in item.get("conditions") or ()}
        for name in _NEEDED:
            found = conditions.get(name)
            if found is None or int(found.get("observedGeneration") or 0) < generation:
                waits.append(f"{item.get('controllerName', 'its controller')} has not said {name}")
            elif found.get("status") != "True":
                reason = str(found.get("reason", name))
                text = f"{reason}: {found.get('message', '')}".rstrip(": ")
                (missing if reason == _NOT_FOUND else refusals).append(text)
    refusal = "; ".join(dict.fromkeys(refusals)) or None
    return refusal, "; ".join(dict.fromkeys(missing)), "" if refusal else "; ".join(waits)


def _names(reference: Mapping[str, Any], parent: Mapping[str, Any], own: str) -> bool:
    found = {"namespace": own, **reference}
    return all(found.get(key) == parent.get(key) for key in ("namespace", "name", "sectionName"))


def _strangers(metadata: Mapping[str, Any]) -> Iterator[str]:
    for item in metadata.get("managedFields") or ():
        fields = item.get("fieldsV1") or {}
        is_ours = item.get("manager") == FIELD_MANAGER
        if not is_ours and not item.get("subresource") and "f:spec" in fields:
            yield str(item.get("manager"))
