"""From an HTTPRoute of ours back to the entry it serves, and what the Gateway says of it. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ctrlplane_gitops.cluster.owner import FIELD_MANAGER
from ctrlplane_gitops.network.codec import decode_entry
from ctrlplane_gitops.network.gateway.config import GatewayConfig
from ctrlplane_gitops.network.gateway.listener import Shown, find_trouble, listener_names
from ctrlplane_gitops.network.gateway.render import (
    NOTE,
    Placement,
    UnservableError,
    place,
    render_parents,
    render_spec,
)
from ctrlplane_gitops.network.gateway.stock import Stock, find_damage, judge_listeners
from ctrlplane_gitops.network.gateway.verdict import Verdict, judge_route
from ctrlplane_gitops.network.table import describe
from ctrlplane_gitops.state.traffic import RouteEntry
from ctrlplane_gitops.value import replace, struct


@struct
class Seen:
    """An HTTPRoute of ours. ``meant`` is the entry it was written for, ``entry`` what it serves;
    None: its note, or what it says, cannot be read. ``is_as_written``: it says what we wrote.
    ``strangers`` are others who have set something in its spec; ``damage`` is what was changed or
    removed of the certificate it shows, which it shows no more then."""

    namespace: str
    name: str
    uid: str
    meant: RouteEntry | None
    entry: RouteEntry | None
    is_as_written: bool
    spec: Mapping[str, Any]
    labels: Mapping[str, str]
    note: str
    verdict: Verdict
    strangers: tuple[str, ...]
    damage: tuple[str, ...] = ()

    @property
    def place(self) -> tuple[str, str]:
        return self.namespace, self.name

    @property
    def shown(self) -> Shown | None:
        """The certificate it is meant to show by listeners of ours."""
        if self.meant is None or self.meant.certificate is None:
            return None
        return Shown(self.meant, self.namespace)

    def is_certified(self, config: GatewayConfig) -> bool:
        """Whether it is to be served by listeners of ours."""
        listener = config.listeners.get(self.meant.entry_point) if self.meant else None
        return self.shown is not None and listener is not None and listener.port is not None

    @property
    def is_live(self) -> bool:
        return self.is_as_written and not self.verdict.waits_for and not self.verdict.early


def read_route(plane: str, config: GatewayConfig, raw: Mapping[str, Any]) -> Seen:
    metadata, spec = raw["metadata"], raw.get("spec") or {}
    note = str((metadata.get("annotations") or {}).get(NOTE, ""))
    meant = _read_note(note)
    entry, is_as_written = None, False
    verdict = Verdict()
    if meant is not None and meant[0].entry_point in config.listeners:
        entry, is_as_written = _read_entry(plane, config, *meant, spec)
        parents = render_parents(plane, config, meant[0])
        is_ours = config.listeners[meant[0].entry_point].port is not None
        verdict = judge_route(config, parents, raw, is_ours=is_ours)
    return Seen(
        metadata["namespace"],
        metadata["name"],
        metadata["uid"],
        meant[0] if meant is not None else None,
        entry,
        is_as_written,
        spec,
        metadata.get("labels") or {},
        note,
        verdict,
        tuple(sorted(set(_strangers(metadata)))),
    )


def add_stock(plane: str, config: GatewayConfig, seen: Sequence[Seen], stock: Stock) -> list[Seen]:
    """All HTTPRoutes, with what there is of the certificates they show."""
    shown = [item.shown for item in seen if item.shown is not None and item.is_certified(config)]
    damage = find_damage(plane, config, shown, stock)
    return [
        _break(item, damage[item.shown])
        if item.shown in damage
        else judge_shown(plane, config, item, stock)
        for item in seen
    ]


def _break(item: Seen, damage: tuple[str, ...]) -> Seen:
    entry = item.entry and replace(item.entry, certificate=None)
    return replace(item, entry=entry, is_as_written=False, damage=damage)


def judge_shown(plane: str, config: GatewayConfig, item: Seen, stock: Stock) -> Seen:
    """With what the Gateway says of the listeners that show its certificate."""
    said = item.verdict
    if item.meant is None or not item.is_certified(config) or said.refusal is not None:
        return item
    refusal, waits = judge_listeners(config, listener_names(plane, item.meant), stock)
    # It may have seen a listener before its Secret, and the route before either.
    said = replace(
        said,
        early="; ".join(filter(None, (refusal, said.early))),
        waits_for="; ".join(filter(None, (said.waits_for, waits))),
    )
    return replace(item, verdict=said)


def find_faults(item: Seen) -> list[str]:
    """What is wrong with an HTTPRoute, each in words."""
    name = f"HTTPRoute {item.namespace}/{item.name}"
    who = f" (set by {', '.join(item.strangers)})" if item.strangers else ""
    if item.entry is None:
        return [f"{name}: what it says is not as we write it{who}"]
    if item.damage:
        return [f"{describe(item.entry)}: {text}" for text in item.damage]
    found = [] if item.is_as_written else [f"{name}: it was changed{who}"]
    said = item.verdict
    for reason in filter(None, (said.refusal, said.early, said.missing)):
        found.append(f"{describe(item.entry)}: {reason}")
    return found


def _read_note(note: str) -> tuple[RouteEntry, Placement] | None:
    try:
        entry = decode_entry(json.loads(note))
        return entry, place(entry)
    except (ValueError, KeyError, TypeError, AttributeError, UnservableError):
        return None


def _read_entry(
    plane: str,
    config: GatewayConfig,
    entry: RouteEntry,
    placement: Placement,
    spec: Mapping[str, Any],
) -> tuple[RouteEntry | None, bool]:
    """What is served: the entry as it was meant, or with the hosts, path and weights somebody has
    given it since. None where that is not to be said in a table."""
    if find_trouble(plane, config, entry):
        return None, False
    if spec == render_spec(plane, config, entry, placement):
        return entry, True
    try:
        found = _follow(entry, placement, spec)
        is_all = render_spec(plane, config, found, placement) == spec
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


def _strangers(metadata: Mapping[str, Any]) -> Iterator[str]:
    for item in metadata.get("managedFields") or ():
        fields = item.get("fieldsV1") or {}
        is_ours = item.get("manager") == FIELD_MANAGER
        if not is_ours and not item.get("subresource") and "f:spec" in fields:
            yield str(item.get("manager"))
