"""Which provider stands behind which name: a name whose type changed shows none of what runs."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from typing import Any

from ctrlplane_gitops.plan.change import Blocked
from ctrlplane_gitops.plan.classify import Look
from ctrlplane_gitops.state.key import Kind, ResourceKey
from ctrlplane_gitops.state.recorded import RecordedResource


def record_places(look: Look) -> RecordedResource | None:
    """The types of the providers by name and that of the router, to be written down; None when
    they are already."""
    plane = look.desired.plane
    key = ResourceKey(Kind.CONTROL_PLANE, "", plane.name)
    types = {alias: config.type for alias, config in sorted(plane.providers.items())}
    places: dict[str, Any] = {"providers": types}
    if plane.router is not None:
        places["router"] = plane.router.type
    text = json.dumps(places, separators=(",", ":"))
    fingerprint = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    known = look.recorded.resources.get(key)
    if known is not None and known.fingerprint == fingerprint:
        return None
    return RecordedResource(key, fingerprint, text, commit=look.header.commit)


def guard_places(look: Look) -> tuple[Blocked, ...]:
    """A refusal for each provider whose type changed while instances are recorded on it: what
    runs there would neither be seen nor ever be removed. One for a router that is another than
    that which serves the recorded routes: two would stand at the same addresses."""
    plane = look.desired.plane
    known = look.recorded.resources.get(ResourceKey(Kind.CONTROL_PLANE, "", plane.name))
    if known is None:
        return ()
    return (*_guard_providers(look, known), *_guard_router(look, known))


def _guard_providers(look: Look, known: RecordedResource) -> tuple[Blocked, ...]:
    plane = look.desired.plane
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


def _guard_router(look: Look, known: RecordedResource) -> tuple[Blocked, ...]:
    before, config = known.attributes.get("router"), look.desired.plane.router
    after = None if config is None else config.type
    if before is None or before == after:
        return ()
    count = sum(1 for key in look.recorded.resources if key.kind is Kind.ROUTE)
    if not count:
        return ()
    routes = "1 route" if count == 1 else f"{count} routes"
    return (
        Blocked(
            "router-changed",
            f"{routes} are served by a {before} router, and spec.router is"
            f" {f'of type {after}' if after else 'gone'} now",
            "remove the routes and apply, then change the router and put them back",
        ),
    )


def _count(number: int) -> str:
    return "1 instance runs" if number == 1 else f"{number} instances run"
