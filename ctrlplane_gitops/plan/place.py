"""Which provider stands behind which name: a name whose type changed shows none of what runs."""

from __future__ import annotations

import hashlib
import json
from collections import Counter

from ctrlplane_gitops.plan.change import Blocked
from ctrlplane_gitops.plan.classify import Look
from ctrlplane_gitops.state.key import Kind, ResourceKey
from ctrlplane_gitops.state.recorded import RecordedResource


def record_places(look: Look) -> RecordedResource | None:
    """The types of the providers by name, to be written down; None when they are already."""
    plane = look.desired.plane
    key = ResourceKey(Kind.CONTROL_PLANE, "", plane.name)
    types = {alias: config.type for alias, config in sorted(plane.providers.items())}
    text = json.dumps({"providers": types}, separators=(",", ":"))
    fingerprint = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    known = look.recorded.resources.get(key)
    if known is not None and known.fingerprint == fingerprint:
        return None
    return RecordedResource(key, fingerprint, text, commit=look.header.commit)


def guard_places(look: Look) -> tuple[Blocked, ...]:
    """A refusal for each provider whose type changed while instances are recorded on it: what
    runs there would neither be seen nor ever be removed."""
    plane = look.desired.plane
    known = look.recorded.resources.get(ResourceKey(Kind.CONTROL_PLANE, "", plane.name))
    if known is None:
        return ()
    types = known.attributes.get("providers") or {}
    changed = {
        alias: types[alias]
        for alias, config in plane.providers.items()
        if alias in types and types[alias] != config.type
    }
    if not changed:
        return ()
    running = Counter(item.provider for item in look.recorded.instances.values())
    return tuple(
        Blocked(
            "provider-changed",
            f"provider {alias} was of type {before} and is {plane.providers[alias].type} now, and "
            f"{_count(running[alias])} there",
            f"give the new one another name and move the instances to it, then remove {alias}",
        )
        for alias, before in sorted(changed.items())
        if running[alias]
    )


def _count(number: int) -> str:
    return "1 instance runs" if number == 1 else f"{number} instances run"
