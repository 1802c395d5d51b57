"""Declared totals of a tenant against its quota. What a rollout needs on top for a while is the
executor's to guard."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ctrlplane_gitops.catalog.finding import fault
from ctrlplane_gitops.catalog.index import TenantSpecs
from ctrlplane_gitops.diagnostics import Diagnostic
from ctrlplane_gitops.specs.document import Document
from ctrlplane_gitops.state.desired import read_replicas
from ctrlplane_gitops.units import format_bytes, format_cpu, parse_bytes, parse_cpu


def check_quota(specs: TenantSpecs) -> Iterator[Diagnostic]:
    """One error per total that is over, at the tenant; and one per instance or volume whose size
    is not known although the quota counts it. Only what the quota names is counted."""
    document = specs.document
    quota = None if document is None else document.spec.get("quota")
    if document is None or not quota:
        return
    yield from _check_count(document, quota, "instances", len(specs.instances))
    yield from _check_limits(specs, document, quota, "cpu", parse_cpu, format_cpu)
    yield from _check_limits(specs, document, quota, "memory", parse_bytes, format_bytes)
    yield from _check_disk(specs, document, quota)
    routes = [item.spec for item in specs.routes.values()]
    hosts = {host.lower() for spec in routes for host in (*spec["hosts"], *spec["previewHosts"])}
    yield from _check_count(document, quota, "domains", len(hosts))
    yield from _check_count(document, quota, "secrets", len(specs.secrets))


def _check_limits(
    specs: TenantSpecs,
    document: Document,
    quota: Any,
    name: str,
    parse: Callable[[str], int],
    render: Callable[[int], str],
) -> Iterator[Diagnostic]:
    """Replicas times limit, over all instances; of an autoscaled one those it begins with."""
    limit = quota.get(name)
    if limit is None:
        return
    total = 0
    for instance in specs.instances.values():
        wanted = instance.spec["resources"].get(name)
        if wanted is None:
            yield fault(
                instance,
                "unlimited",
                f"{instance.key} has no {name} limit, and the quota of tenant {specs.name!r}"
                f" counts {name}",
                "resources",
                hint=f"set resources.{name}",
            )
        else:
            total += read_replicas(instance.spec["replicas"])[0] * parse(wanted)
    if total > parse(limit):
        yield _over(document, name, render(total), limit)


def _check_disk(specs: TenantSpecs, document: Document, quota: Any) -> Iterator[Diagnostic]:
    """A volume belongs to the instance: all its replicas share it, so it counts once."""
    limit = quota.get("disk")
    if limit is None:
        return
    total = 0
    for instance in specs.instances.values():
        for place, volume in enumerate(instance.spec["volumes"]):
            size = volume.get("size")
            if size is None:
                yield fault(
                    instance,
                    "unlimited",
                    f"volume {volume['name']!r} has no size, and the quota of tenant"
                    f" {specs.name!r} counts disk",
                    "volumes",
                    place,
                    hint="set its size",
                )
            else:
                total += parse_bytes(size)
    if total > parse_bytes(limit):
        yield _over(document, "disk", format_bytes(total), limit)


def _check_count(document: Document, quota: Any, name: str, count: int) -> Iterator[Diagnostic]:
    limit = quota.get(name)
    if limit is not None and count > limit:
        yield _over(document, name, str(count), str(limit))


def _over(document: Document, name: str, total: str, limit: str) -> Diagnostic:
    return fault(
        document,
        "over-quota",
        f"tenant {document.name!r} declares {total} {name}, its quota is {limit}",
        "quota",
        name,
        hint=f"declare less, or raise spec.quota.{name}",
    )
