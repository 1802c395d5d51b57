"""Routes against what the router serves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ctrlplane_gitops.diagnostics import Diagnostic, warning
from ctrlplane_gitops.plan.change import Blocked, Change, ChangeAction, Drift, FieldChange
from ctrlplane_gitops.plan.classify import Look, Row, basis_of, is_targeted, make_change
from ctrlplane_gitops.rollout.routing import build_entries, places_of, steady_step
from ctrlplane_gitops.state.desired import DesiredInstance, DesiredRoute
from ctrlplane_gitops.state.key import Kind, ResourceKey
from ctrlplane_gitops.state.observed import ObservedReplicaSet
from ctrlplane_gitops.state.traffic import RouteEntry, RouterState

Served = Mapping[ResourceKey, tuple[RouteEntry, ...]]


def index_served(router: RouterState | None, *, has_routes: bool = True) -> Served | None:
    """What is served, by instance; None where that cannot be known. A router of ours that was
    never told anything serves nothing; one that stopped has its table still, unseen, unless it was
    stopped because no route was left (``has_routes``: some are recorded)."""
    if router is None:
        return None
    has_table = bool(router.generation) and has_routes
    if router.gap is not None and (has_table or not router.is_stopped):
        return None
    return router.table.by_instance()


def wanted_entries(
    instance: DesiredInstance, sets: tuple[ObservedReplicaSet, ...], release: int | None
) -> tuple[RouteEntry, ...]:
    """What is to be served of an instance when nothing is being rolled out."""
    step = steady_step(release or 0, sets)
    return build_entries(instance.key, instance.routes, step, places_of(sets))


def served_entries(look: Look, instance: DesiredInstance) -> tuple[RouteEntry, ...]:
    """What is served of the routes Git gives an instance. What else leads to it is about to be
    removed or held back from that, and follows by itself."""
    keys = {route.key for route in instance.routes}
    return tuple(item for item in (look.served or {}).get(instance.key, ()) if item.key in keys)


def is_routed(look: Look, instance: ResourceKey, routes: Sequence[DesiredRoute] = ()) -> bool:
    """Whether requests may reach an instance through the router: by ``routes`` of Git, by what is
    served, and where that is not known by the record."""
    if look.desired.plane.router is None:
        return False
    if routes or look.served is not None:
        return bool(routes) or bool((look.served or {}).get(instance))
    return any(
        key.kind is Kind.ROUTE
        and key.tenant == instance.tenant
        and known.attributes.get("instance") == instance.name
        for key, known in look.recorded.resources.items()
    )


def is_misrouted(
    look: Look,
    instance: DesiredInstance,
    sets: tuple[ObservedReplicaSet, ...],
    release: int | None,
) -> bool:
    """Whether the router serves something else; False where that is not known, but for what it
    cannot have been told yet."""
    if not instance.routes:
        return False
    if look.served is None:
        router = look.observed.router
        return router is not None and router.is_stopped and _is_news(look, instance)
    return served_entries(look, instance) != wanted_entries(instance, sets, release)


def _is_news(look: Look, instance: DesiredInstance) -> bool:
    """Whether Git says something of its routes that is not recorded."""
    return not all(_is_recorded(look, route.key) for route in instance.routes)


def _is_recorded(look: Look, route: ResourceKey) -> bool:
    """Whether what Git says of a route is what was recorded of it."""
    known = look.recorded.resources.get(route)
    return known is not None and known.fingerprint == look.desired.resources[route].fingerprint


def plan_misrouted(
    look: Look,
    instance: DesiredInstance,
    sets: tuple[ObservedReplicaSet, ...],
    release: int | None,
) -> tuple[tuple[Change, ...], tuple[Drift, ...]]:
    """Rows and drift of the routes that are served otherwise although nobody changed them."""
    if look.served is None:
        return (), ()
    served = served_entries(look, instance)
    wanted = wanted_entries(instance, sets, release)
    changes, drift = [], []
    for route in instance.routes:
        if not _is_recorded(look, route.key):
            continue
        before = [item for item in served if item.key == route.key]
        after = [item for item in wanted if item.key == route.key]
        if before == after:
            continue
        texts = describe_entries(before), describe_entries(after)
        if texts[0] == texts[1]:
            texts = "other settings", "as Git says"
        resource, known = look.desired.resources[route.key], look.recorded.resources[route.key]
        row = Row(route.key, resource, known)
        fields = (FieldChange(("traffic",), *texts),)
        changes.append(
            make_change(row, ChangeAction.UPDATE, "drift", extra=fields, basis=basis_of(sets))
        )
        seen = (FieldChange(("traffic",), texts[1], texts[0]),)
        text = f"traffic {texts[1]} -> {texts[0]}"
        drift.append(Drift(route.key, seen, text, is_corrected=True))
    return tuple(changes), tuple(drift)


def describe_entries(entries: Sequence[RouteEntry]) -> str:
    """Who gets which share of a route, in words.

    >>> describe_entries(())
    'nothing'
    """
    main = next((item for item in entries if not item.variant), None)
    if main is None or not any(item.members for item in main.backends):
        return "nothing" if main is None else "to nobody"
    return ", ".join(
        f"v{item.release} {item.weight}% ({_count(len(item.members))})" for item in main.backends
    )


def find_router_gap(
    look: Look, instance: ResourceKey, routes: Sequence[DesiredRoute] = ()
) -> Blocked | None:
    """Why requests to an instance cannot be moved, and so nothing be rolled out or removed."""
    router = look.observed.router
    if router is None or router.gap is None or router.is_stopped:
        return None
    if not is_routed(look, instance, routes):
        return None
    return Blocked(
        "router-gap",
        f"the router did not answer: {router.gap}",
        "who has routes stays as it is until it answers; plan again then",
    )


def warn_router(look: Look) -> tuple[Diagnostic, ...]:
    router = look.observed.router
    if router is None:
        return ()
    texts = [*router.faults, *router.warnings]
    if router.gap is not None and not router.is_stopped:
        texts.append(f"it did not answer: {router.gap}")
    return tuple(warning("router", f"router: {text}") for text in texts)


def find_stopped(look: Look) -> Drift | None:
    """A router of ours that is to serve something and does not run any more; with its last route
    it was stopped."""
    router = look.observed.router
    config = look.desired.plane.router
    if router is None or config is None or not (router.is_stopped and router.generation):
        return None
    if look.policy.is_destroy or not _has_routes(look):
        return None
    text = f"the {config.type} router does not run"
    return _router_drift(look, FieldChange(("router",), "running", "stopped"), text)


def find_idle(look: Look) -> Drift | None:
    """A router of ours that runs although nothing is routed: who took out the last route did not
    live to stop it."""
    router = look.observed.router
    config = look.desired.plane.router
    if router is None or config is None or router.gap is not None or not router.generation:
        return None
    is_ours = not router.is_lasting and config.options.get("managed") is not False
    if router.table.entries or not is_ours or look.is_lost:
        return None
    if _has_routes(look):
        return None
    text = f"the {config.type} router runs, and nothing is routed"
    return _router_drift(look, FieldChange(("router",), "stopped", "running"), text)


def _has_routes(look: Look) -> bool:
    desired = () if look.policy.is_destroy else look.desired.resources
    return any(key.kind is Kind.ROUTE for key in (*desired, *look.recorded.resources))


def _router_drift(look: Look, change: FieldChange, text: str) -> Drift:
    key = ResourceKey(Kind.CONTROL_PLANE, "", look.desired.plane.name)
    return Drift(key, (change,), text, is_targeted(look.policy.targets, key))


def find_certificates(look: Look) -> frozenset[ResourceKey]:
    """The secrets that routes show to clients."""
    routes = (route for item in look.desired.instances.values() for route in item.routes)
    return frozenset(route.certificate for route in routes if route.certificate is not None)


def find_stray_routes(look: Look) -> list[ResourceKey]:
    """Routes that are served although neither Git nor the record knows them."""
    served = (look.served or {}).values()
    keys = {entry.key for entries in served for entry in entries}
    known = look.recorded.resources
    if look.policy.is_destroy:
        return sorted(key for key in keys if key not in known)
    desired, frozen = look.desired.resources, look.desired.frozen
    return sorted(
        key for key in keys if key not in known and key not in desired and key.tenant not in frozen
    )


def _count(number: int) -> str:
    return "1 replica" if number == 1 else f"{number} replicas"
