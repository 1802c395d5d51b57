"""Rows of what is recorded of tenants, deployments, routes and secrets. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from ctrlplane_gitops.state.desired import read_replicas
from ctrlplane_gitops.state.key import Kind, ResourceKey
from ctrlplane_gitops.state.recorded import RecordedResource
from ctrlplane_gitops.status.instance import labels_of, shares_of
from ctrlplane_gitops.status.live import Live
from ctrlplane_gitops.status.row import (
    DeploymentRow,
    QuotaRow,
    RouteRow,
    SecretRow,
    TenantRow,
    Use,
)
from ctrlplane_gitops.units import parse_bytes, parse_cpu

_Attributes = Mapping[str, Any]


def tenant_row(
    tenant: RecordedResource, owned: Iterable[RecordedResource], frozen: str, live: Live | None
) -> TenantRow:
    """``owned`` is what is recorded of the tenant; what it adds up to is its use."""
    spec = tenant.attributes
    resources = [(item.key, item.attributes) for item in owned if item.key.kind in _COUNTED]
    keys = [key for key, _ in resources if key.kind is Kind.INSTANCE]
    return TenantRow(
        name=tenant.key.name,
        display_name=spec.get("displayName") or "",
        labels=labels_of(spec),
        is_suspended=bool(spec.get("suspended")),
        is_protected=tenant.is_protected,
        frozen=frozen,
        quota=_quota_row(spec.get("quota") or {}, resources),
        phases=_count_phases(keys, live),
    )


_COUNTED = frozenset({Kind.INSTANCE, Kind.ROUTE, Kind.SECRET})


def _count_phases(keys: Iterable[ResourceKey], live: Live | None) -> Mapping[str, int]:
    seen = live.instances if live else {}
    counted = Counter(seen[key].phase.value if key in seen else "unknown" for key in keys)
    return dict(sorted(counted.items()))


def _quota_row(quota: _Attributes, owned: list[tuple[ResourceKey, _Attributes]]) -> QuotaRow:
    instances = [spec for key, spec in owned if key.kind is Kind.INSTANCE]
    routes = [spec for key, spec in owned if key.kind is Kind.ROUTE]
    hosts = {host for spec in routes for host in (*spec["hosts"], *spec.get("previewHosts", ()))}
    volumes = [item for spec in instances for item in spec.get("volumes") or ()]
    return QuotaRow(
        instances=Use(len(instances), quota.get("instances")),
        cpu_millicores=_use_of(instances, quota, "cpu", parse_cpu),
        memory_bytes=_use_of(instances, quota, "memory", parse_bytes),
        disk_bytes=Use(
            sum(parse_bytes(item["size"]) for item in volumes if item.get("size")),
            parse_bytes(quota["disk"]) if "disk" in quota else None,
        ),
        domains=Use(len(hosts), quota.get("domains")),
        secrets=Use(sum(key.kind is Kind.SECRET for key, _ in owned), quota.get("secrets")),
    )


def _use_of(instances: Iterable[_Attributes], quota: _Attributes, name: str, parse: Any) -> Use:
    """Replicas times limit; what has no limit counts as nothing."""
    limits = [
        (read_replicas(item["replicas"])[0], item.get("resources", {}).get(name))
        for item in instances
    ]
    used = sum(replicas * parse(limit) for replicas, limit in limits if limit is not None)
    return Use(used, parse(quota[name]) if name in quota else None)


def deployment_row(item: RecordedResource) -> DeploymentRow:
    spec = item.attributes
    return DeploymentRow(
        address=item.key.address,
        tenant=item.key.tenant,
        name=item.key.name,
        labels=labels_of(spec),
        instance=spec["instance"],
        image=spec.get("image"),
        command=tuple(spec.get("command") or ()),
        strategy=(spec.get("strategy") or {}).get("type", "rolling"),
        file=item.path,
        commit=item.commit,
    )


def route_row(item: RecordedResource, live: Live | None) -> RouteRow:
    spec, key = item.attributes, item.key
    tls = spec.get("tls")
    return RouteRow(
        address=key.address,
        tenant=key.tenant,
        name=key.name,
        labels=labels_of(spec),
        instance=spec["instance"],
        hosts=tuple(spec["hosts"]),
        path=spec.get("path") or "/",
        port=spec.get("port") or "",
        entry_point=spec.get("entryPoint") or ("websecure" if tls else "web"),
        certificate=tls.get("certificate", "auto") if tls else None,
        preview_hosts=tuple(spec.get("previewHosts") or ()),
        traffic=shares_of(_shares_of(key, live)),
    )


def _shares_of(key: ResourceKey, live: Live | None) -> tuple[tuple[int, int], ...] | None:
    found = live.entries.get(key, ()) if live else ()
    main = next((item for item in found if not item.variant), None)
    if main is None:
        return None
    # Release 0 stands for nobody.
    return tuple((item.release, item.weight) for item in main.backends if item.release)


def secret_row(item: RecordedResource, instances: Iterable[RecordedResource]) -> SecretRow:
    """``instances`` are those of its tenant."""
    spec, key = item.attributes, item.key
    using = [x.key.name for x in instances if key.name in (x.attributes.get("secrets") or ())]
    return SecretRow(
        address=key.address,
        tenant=key.tenant,
        name=key.name,
        labels=labels_of(spec),
        type=spec["type"],
        target=spec.get("key") or spec.get("path") or spec.get("registry") or "",
        source=_source_of(spec.get("from") or {}),
        instances=tuple(sorted(using)),
    )


def _source_of(source: _Attributes) -> str:
    """Which backend, and what it is asked for where that is only a name."""
    name = next(iter(sorted(source)), "")
    return f"{name}:{source[name]}" if name in ("env", "file") else name
