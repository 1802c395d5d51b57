"""A sound tenant's documents as what the rest of the product works with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ctrlplane_gitops.catalog.attribute import build_resource, show_files
from ctrlplane_gitops.catalog.fingerprint import blob_id, revision_of
from ctrlplane_gitops.catalog.graph import resolve_dependencies, warn_frozen
from ctrlplane_gitops.catalog.index import Scope, TenantSpecs
from ctrlplane_gitops.catalog.route import build_routes
from ctrlplane_gitops.catalog.secret import build_ref
from ctrlplane_gitops.catalog.template import (
    build_files,
    build_health,
    build_params,
    build_resources,
    build_secrets,
    build_template,
)
from ctrlplane_gitops.diagnostics import Diagnostic
from ctrlplane_gitops.specs.document import Document
from ctrlplane_gitops.state.desired import (
    Allowance,
    DesiredInstance,
    DesiredResource,
    RolloutParams,
    SecretRef,
    read_replicas,
)
from ctrlplane_gitops.state.key import Kind, ResourceKey, instance_key, tenant_key
from ctrlplane_gitops.units import parse_bytes, parse_cpu
from ctrlplane_gitops.value import field, record

_IDLE = RolloutParams()


@record
class Parts:
    """A desired state being collected, tenant by tenant."""

    resources: dict[ResourceKey, DesiredResource] = field(default_factory=dict)
    instances: dict[ResourceKey, DesiredInstance] = field(default_factory=dict)
    secret_refs: dict[ResourceKey, SecretRef] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)


def build_tenant(
    specs: TenantSpecs, scope: Scope, frozen: Mapping[str, str], parts: Parts
) -> Iterator[Diagnostic]:
    """Add everything of a tenant without errors to ``parts``; yields what is worth a warning."""
    assert specs.document is not None, "a tenant without a document has an error"
    key = tenant_key(specs.name)
    is_suspended = bool(specs.document.spec["suspended"])
    parts.resources[key] = build_resource(key, specs.document, {}, scope.keep)
    allowance = _build_allowance(specs.document)
    for name, secret in specs.secrets.items():
        key = ResourceKey(Kind.SECRET, specs.name, name)
        shown = {"valueDigest": scope.digests[key]}
        parts.resources[key] = build_resource(key, secret, shown, scope.keep)
        parts.secret_refs[key] = build_ref(secret)
    for document in specs.instances.values():
        yield from warn_frozen(document, scope, frozen)
        instance = _find_built(document, scope)
        if instance is None:
            instance = _build_instance(document, specs, scope, frozen, is_suspended, allowance)
        _add_instance(document, instance, parts)
    for name, route in specs.routes.items():
        key = ResourceKey(Kind.ROUTE, specs.name, name)
        parts.resources[key] = build_resource(key, route, {}, scope.keep)


def _add_instance(document: Document, instance: DesiredInstance, parts: Parts) -> None:
    parts.resources[instance.key] = instance.resource
    parts.instances[instance.key] = instance
    if instance.deployment is not None:
        parts.resources[instance.deployment.key] = instance.deployment
    for file in document.spec["files"]:
        if file.get("content") is not None:
            content = file["content"].encode()
            parts.blobs[blob_id(content)] = content


def _find_built(document: Document, scope: Scope) -> DesiredInstance | None:
    """The instance as it was built before, where its secrets have the same values by now."""
    found = scope.built.get(instance_key(document.tenant, document.name))
    if found is None or found.template is None:
        return found
    digests = scope.digests
    is_same = all(digests.get(item.secret) == item.digest for item in found.template.secrets)
    return found if is_same else None


def _build_instance(
    document: Document,
    specs: TenantSpecs,
    scope: Scope,
    frozen: Mapping[str, str],
    is_suspended: bool,
    allowance: Allowance,
) -> DesiredInstance:
    spec, provider = document.spec, scope.provider_of(document)
    shown: dict[str, Any] = {"provider": provider, **show_files(spec, scope.entries)}
    deployment = specs.serving.get(document.name)
    deployed = template = None
    if deployment is not None:
        key = ResourceKey(Kind.DEPLOYMENT, specs.name, deployment.name)
        deployed = build_resource(key, deployment, {}, scope.keep)
        template = build_template(
            document,
            deployment,
            provider,
            build_files(spec, scope.entries),
            build_secrets(document, specs.secrets, scope.digests),
            has_images=scope.type_of(document) != "process",
        )
    health = build_health(spec)
    replicas, is_autoscaled = read_replicas(spec["replicas"])
    return DesiredInstance(
        build_resource(instance_key(specs.name, document.name), document, shown, scope.keep),
        provider,
        0 if is_suspended else replicas,
        build_resources(spec),
        health,
        resolve_dependencies(document, scope, frozen),
        deployed,
        template,
        None if template is None else revision_of(template),
        _IDLE if deployment is None else build_params(deployment.spec["strategy"]),
        is_suspended,
        _is_drift_observed(spec, specs, scope),
        build_routes(document, specs, scope.plane, health),
        is_autoscaled,
        allowance,
    )


def _build_allowance(document: Document) -> Allowance:
    quota: Mapping[str, str] = document.spec["quota"] or {}
    cpu, memory, disk = (quota.get(name) for name in ("cpu", "memory", "disk"))
    return Allowance(
        None if cpu is None else parse_cpu(cpu),
        None if memory is None else parse_bytes(memory),
        None if disk is None else parse_bytes(disk),
    )


def _is_drift_observed(spec: Mapping[str, Any], specs: TenantSpecs, scope: Scope) -> bool:
    """By the instance, else by its tenant, else by the control plane."""
    tenant = specs.document.spec if specs.document else {}
    mode = spec.get("drift") or tenant.get("drift")
    return scope.plane.is_drift_observed if mode is None else mode == "observe"
