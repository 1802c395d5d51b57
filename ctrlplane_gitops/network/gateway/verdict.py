"""What a Gateway says of an HTTPRoute. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ctrlplane_gitops.network.gateway.config import GatewayConfig
from ctrlplane_gitops.value import struct

_NEEDED = ("Accepted", "ResolvedRefs")
_NOT_FOUND = "BackendNotFound"
# What is said of a listener that the Gateway has not seen yet.
_EARLY = ("NoMatchingParent", "NoMatchingListenerHostname", "NotAllowedByListeners")


@struct
class Verdict:
    """``refusal`` is why the Gateway does not serve it, None: it does, or has not said; ``early``
    may be said again otherwise in a moment, while a listener of ours is new; ``missing`` is the
    Service it has taken the route without, which is its provider's to mend; ``waits_for`` what is
    still to be said of this very generation."""

    refusal: str | None = None
    early: str = ""
    missing: str = ""
    waits_for: str = ""


@dataclass(slots=True)
class _Said:
    refusals: list[str] = field(default_factory=list)
    early: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    waits: list[str] = field(default_factory=list)


def judge_route(
    config: GatewayConfig,
    parents: Sequence[Mapping[str, Any]],
    raw: Mapping[str, Any],
    *,
    is_ours: bool,
) -> Verdict:
    """``parents`` are what it asks to be served by; ``is_ours``: listeners of ours."""
    generation = int(raw["metadata"].get("generation") or 0)
    statuses = (raw.get("status") or {}).get("parents") or ()
    said = _Said()
    for parent in parents:
        found = [
            item
            for item in statuses
            if _names(item.get("parentRef") or {}, parent, raw["metadata"]["namespace"])
        ]
        if not found:
            said.waits.append(f"Gateway {config.namespace}/{config.name} has not answered")
        for item in found:
            _hear(item, generation, said, is_ours=is_ours)
    refusal = _join(said.refusals) or None
    waits = "" if refusal else _join(said.waits)
    return Verdict(refusal, _join(said.early), _join(said.missing), waits)


def _hear(item: Mapping[str, Any], generation: int, said: _Said, *, is_ours: bool) -> None:
    conditions = {it["type"]: it for it in item.get("conditions") or ()}
    for name in _NEEDED:
        found = conditions.get(name)
        if found is None or int(found.get("observedGeneration") or 0) < generation:
            said.waits.append(f"{item.get('controllerName', 'its controller')} has not said {name}")
        elif found.get("status") != "True":
            reason = str(found.get("reason", name))
            text = f"{reason}: {found.get('message', '')}".rstrip(": ")
            if reason == _NOT_FOUND:
                said.missing.append(text)
            elif is_ours and reason in _EARLY:
                said.early.append(text)
            else:
                said.refusals.append(text)


def _join(texts: list[str]) -> str:
    return "; ".join(dict.fromkeys(texts))


def _names(reference: Mapping[str, Any], parent: Mapping[str, Any], own: str) -> bool:
    found = {"namespace": own, **reference}
    return all(found.get(key) == parent.get(key) for key in ("namespace", "name", "sectionName"))
