"""Documents in, desired state out. An error freezes its tenant, and nobody else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache

from ctrlplane_gitops.catalog.analysis import check_analysis
from ctrlplane_gitops.catalog.control_plane import (
    check_control_planes,
    is_plane_error,
    parse_control_plane,
)
from ctrlplane_gitops.catalog.environment import check_env, check_secret_env, check_secret_key
from ctrlplane_gitops.catalog.graph import check_dependencies
from ctrlplane_gitops.catalog.index import Index, Scope, index_documents
from ctrlplane_gitops.catalog.quota import check_quota
from ctrlplane_gitops.catalog.refs import (
    check_deployment_refs,
    check_instance_refs,
    check_route_refs,
    check_tenant,
    warn_idle,
)
from ctrlplane_gitops.catalog.route import check_collisions, check_served, warn_unserved
from ctrlplane_gitops.catalog.runtime import (
    check_deployment_runtime,
    check_paths,
    check_probes,
    check_replicas,
)
from ctrlplane_gitops.catalog.tenant import Parts, build_tenant
from ctrlplane_gitops.diagnostics import Diagnostic, sort_diagnostics
from ctrlplane_gitops.specs.document import Document
from ctrlplane_gitops.state.desired import ControlPlane, DesiredInstance, DesiredState
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.text import Text


def build_catalog(
    documents: Sequence[Document],
    diagnostics: Sequence[Diagnostic],
    entries: Mapping[str, str],
    secret_digests: Mapping[ResourceKey, str],
    built: Mapping[ResourceKey, DesiredInstance] | None = None,
    keep: Callable[[str], Text] = str,
) -> tuple[DesiredState | None, tuple[Diagnostic, ...]]:
    """Everything Git says, and the problems that only show when documents are held together.

    ``diagnostics`` are the earlier ones (source, specs, secrets): their errors freeze tenants and
    make the state incomplete; they are not returned again. ``entries`` maps the snapshot's paths
    to blob ids. ``secret_digests`` are the digests of the secrets' values: a tenant with a secret
    that has none is frozen. ``built`` and ``keep`` are as in ``Scope``: the former are not built
    again. The state is None when the control plane is missing or wrong.
    The order of ``documents`` does not matter. Never raises for documents that passed the specs.
    """
    index = index_documents(documents)
    found = list(check_control_planes(index.planes, diagnostics))
    is_sound = not found and not any(map(is_plane_error, diagnostics))
    found.extend(index.duplicates)
    plane = parse_control_plane(index.planes)
    if plane is None:
        return None, sort_diagnostics(found)
    scope = _build_scope(plane, index, diagnostics, entries, secret_digests, built or {}, keep)
    found.extend(_check_all(scope))
    if not is_sound:
        return None, sort_diagnostics(found)
    frozen = _freeze(scope, [*diagnostics, *found])
    found.extend(warn_unserved(plane, scope.tenants))
    parts = Parts()
    for specs in scope.tenants.values():
        if specs.name not in frozen:
            found.extend(build_tenant(specs, scope, frozen, parts))
    state = DesiredState(
        plane,
        parts.resources,
        parts.instances,
        parts.secret_refs,
        frozen,
        scope.is_complete,
        parts.blobs,
    )
    return state, sort_diagnostics(found)


def _build_scope(
    plane: ControlPlane,
    index: Index,
    diagnostics: Sequence[Diagnostic],
    entries: Mapping[str, str],
    digests: Mapping[ResourceKey, str],
    built: Mapping[ResourceKey, DesiredInstance],
    keep: Callable[[str], Text],
) -> Scope:
    errors = [item for item in diagnostics if item.is_error]
    return Scope(
        plane,
        dict(sorted(index.tenants.items())),
        entries,
        digests,
        sorted(name for name, specs in index.tenants.items() if specs.document is not None),
        cache(lambda: sorted(entries)),
        frozenset(item.address for item in errors if item.address and item.tenant),
        frozenset(item.tenant for item in errors if item.tenant),
        all(item.tenant for item in errors),
        built,
        keep,
    )


def _check_all(scope: Scope) -> Iterator[Diagnostic]:
    for specs in scope.tenants.values():
        yield from check_tenant(specs, scope)
        for secret in specs.secrets.values():
            yield from check_secret_key(secret)
        for instance in specs.instances.values():
            yield from check_instance_refs(instance, specs, scope)
            yield from check_env(instance)
            yield from check_secret_env(instance, specs)
            yield from check_paths(instance, specs, scope)
            yield from check_probes(instance, scope)
            yield from check_replicas(instance, scope)
        for deployment in specs.deployments.values():
            yield from check_deployment_refs(deployment, specs, scope)
            yield from check_env(deployment)
            yield from check_deployment_runtime(deployment, specs, scope)
            yield from check_analysis(deployment, specs, scope)
        for route in specs.routes.values():
            yield from check_route_refs(route, specs, scope)
        yield from check_served(specs, scope.plane)
        yield from check_quota(specs)
        if specs.name not in scope.suspects:
            yield from warn_idle(specs)
    yield from check_collisions(scope.tenants)
    yield from check_dependencies(scope)


def explain_freezes(diagnostics: Iterable[Diagnostic]) -> dict[str, str]:
    """Why each frozen tenant is, by its first error: ``tenants/a.yaml:3:5: ... (and 2 more)``."""
    first: dict[str, Diagnostic] = {}
    count: Counter[str] = Counter()
    for item in sort_diagnostics(diagnostics):
        if item.is_error and item.tenant:
            first.setdefault(item.tenant, item)
            count[item.tenant] += 1
    return {
        tenant: f"{item.origin or item.address}: {item.summary}"
        + (f" (and {count[tenant] - 1} more)" if count[tenant] > 1 else "")
        for tenant, item in first.items()
    }


def _freeze(scope: Scope, diagnostics: Iterable[Diagnostic]) -> dict[str, str]:
    frozen = explain_freezes(diagnostics)
    for specs in scope.tenants.values():
        for secret in specs.secrets.values():
            if secret.key not in scope.digests:
                frozen.setdefault(
                    specs.name, f"{secret.origin}: the value of {secret.key} is not known"
                )
    return dict(sorted(frozen.items()))
