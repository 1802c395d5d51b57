"""From specs to what is run: the release's template, its limits, probes and rollout."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from ctrlplane_gitops.catalog.fingerprint import blob_id
from ctrlplane_gitops.catalog.refs import source_path
from ctrlplane_gitops.specs.document import Document
from ctrlplane_gitops.state.desired import (
    HealthCheck,
    Json,
    ProbeType,
    Resources,
    RolloutParams,
    StrategyType,
)
from ctrlplane_gitops.state.key import Kind, ResourceKey
from ctrlplane_gitops.state.template import (
    FileMount,
    Port,
    ReleaseTemplate,
    SecretMount,
    SecretType,
    Volume,
)
from ctrlplane_gitops.units import (
    parse_bytes,
    parse_count_or_percent,
    parse_cpu,
    parse_duration,
)
from ctrlplane_gitops.value import replace

# Ten thousand instances say the same few things: equal parts are parsed once and shared.
_SHARED = 4096
_DEFAULT = RolloutParams()


def build_template(
    instance: Document,
    deployment: Document,
    provider: str,
    files: tuple[FileMount, ...],
    secrets: tuple[SecretMount, ...],
    *,
    has_images: bool = True,
) -> ReleaseTemplate:
    """``provider`` is the alias; a deployment's env wins over its instance's. Where a provider
    runs no images (``has_images``), a new image restarts nothing."""
    spec, program = instance.spec, deployment.spec
    env: Mapping[str, str] = {**spec["env"], **program["env"]}
    return ReleaseTemplate(
        provider,
        (program.get("image") or None) if has_images else None,
        tuple(program["command"]),
        dict(sorted(env.items())),
        _ports(tuple([(item["name"], item["port"]) for item in spec["ports"]])),
        build_volumes(spec),
        files,
        secrets,
    )


def build_volumes(spec: Json) -> tuple[Volume, ...]:
    """Sorted by name."""
    if not spec["volumes"]:
        return ()
    found = [_volume(item["name"], item["path"], item.get("size")) for item in spec["volumes"]]
    return tuple(sorted(found, key=lambda item: item.name))


def digest_of(file: Json, entries: Mapping[str, str]) -> str:
    """The blob id of one item of ``files``; KeyError when its source is not in the snapshot."""
    content = file.get("content")
    if content is not None:
        return blob_id(content.encode())
    return entries[source_path(file["source"])]


def build_files(spec: Json, entries: Mapping[str, str]) -> tuple[FileMount, ...]:
    """Sorted by path; ``entries`` maps paths of the snapshot to blob ids."""
    if not spec["files"]:
        return ()
    found = [
        FileMount(item["path"], digest_of(item, entries), int(item["mode"], 8))
        for item in spec["files"]
    ]
    return tuple(sorted(found, key=lambda item: item.path))


def build_secrets(
    instance: Document, secrets: Mapping[str, Document], digests: Mapping[ResourceKey, str]
) -> tuple[SecretMount, ...]:
    """Sorted by the secret's name. ``secrets`` are the tenant's; ``digests`` their values'."""
    names = instance.spec["secrets"]
    if not names:
        return ()
    mounts = []
    for name in sorted(names):
        key = ResourceKey(Kind.SECRET, instance.tenant, name)
        spec = secrets[name].spec
        kind = SecretType(spec["type"])
        mounts.append(SecretMount(key, kind, target_of(spec), digests[key]))
    return tuple(mounts)


def target_of(spec: Json) -> str:
    """The variable, path or registry host a secret's value goes to; "" for a certificate.

    >>> target_of({"type": "env", "key": "TOKEN"})
    'TOKEN'
    """
    field = {"env": "key", "file": "path", "registry": "registry"}.get(spec["type"], "")
    return spec.get(field) or ""


def build_resources(spec: Json) -> Resources:
    limits = spec["resources"]
    return _resources(limits.get("cpu"), limits.get("memory"))


def build_health(spec: Json) -> tuple[HealthCheck, ...]:
    """In the order of the specs; a check without a port probes the first one."""
    if not spec["health"]:
        return ()
    first = spec["ports"][0]["name"] if spec["ports"] else ""
    return tuple(
        [
            _check(
                item["name"],
                item["type"],
                item.get("port") or first,
                item["path"],
                tuple(item["command"]),
                item["interval"],
                item["timeout"],
                item["retries"],
                item["statuses"],
                item.get("service", ""),
            )
            for item in spec["health"]
        ]
    )


@lru_cache(maxsize=_SHARED)
def _check(
    name: str,
    kind: str,
    port: str,
    path: str,
    command: tuple[str, ...],
    interval: str,
    timeout: str,
    retries: int,
    statuses: str,
    service: str,
) -> HealthCheck:
    return HealthCheck(
        name,
        ProbeType(kind),
        "" if kind == ProbeType.COMMAND else port,
        path,
        command,
        parse_duration(interval),
        parse_duration(timeout),
        retries,
        parse_statuses(statuses),
        service,
    )


def parse_statuses(text: str) -> tuple[int, int]:
    """Inclusive range of HTTP status codes.

    >>> parse_statuses("200-399"), parse_statuses("204")
    ((200, 399), (204, 204))
    """
    low, _, high = text.partition("-")
    return int(low), int(high or low)


def build_params(strategy: Json) -> RolloutParams:
    """``strategy`` is a deployment's."""
    rolling: Mapping[str, Any] = strategy.get("rolling") or {}
    blue_green: Mapping[str, Any] = strategy.get("blueGreen") or {}
    params = _params(
        strategy["type"],
        strategy["minReady"],
        strategy["healthyDeadline"],
        strategy["progressDeadline"],
        strategy["drainTimeout"],
        strategy["stopTimeout"],
        strategy["autoRollback"],
        strategy["revisionHistoryLimit"],
        rolling.get("maxSurge"),
        rolling.get("maxUnavailable"),
        blue_green.get("autoPromote", _DEFAULT.is_auto_promote),
        blue_green.get("scaleDownDelay"),
        blue_green.get("bakeTime"),
    )
    canary: Mapping[str, Any] = strategy.get("canary") or {}
    if not canary:
        return params
    # Most commands meet none.
    from ctrlplane_gitops.catalog.canary import build_canary

    return replace(params, **build_canary(canary))


@lru_cache(maxsize=_SHARED)
def _params(
    kind: str,
    min_ready: str,
    healthy_deadline: str,
    progress_deadline: str,
    drain_timeout: str,
    stop_timeout: str,
    is_auto_rollback: bool,
    history_limit: int,
    max_surge: int | str | None,
    max_unavailable: int | str | None,
    is_auto_promote: bool,
    scale_down_delay: str | None,
    bake_time: str | None,
) -> RolloutParams:
    return RolloutParams(
        StrategyType(kind),
        parse_duration(min_ready),
        parse_duration(healthy_deadline),
        parse_duration(progress_deadline),
        parse_duration(drain_timeout),
        parse_duration(stop_timeout),
        is_auto_rollback,
        history_limit,
        _DEFAULT.max_surge if max_surge is None else parse_count_or_percent(max_surge),
        _DEFAULT.max_unavailable
        if max_unavailable is None
        else parse_count_or_percent(max_unavailable),
        is_auto_promote,
        _DEFAULT.scale_down_delay if scale_down_delay is None else parse_duration(scale_down_delay),
        _DEFAULT.bake_time if bake_time is None else parse_duration(bake_time),
    )


@lru_cache(maxsize=_SHARED)
def _ports(items: tuple[tuple[str, int], ...]) -> tuple[Port, ...]:
    return tuple([Port(name, port) for name, port in items])


@lru_cache(maxsize=_SHARED)
def _volume(name: str, path: str, size: str | None) -> Volume:
    return Volume(name, path, parse_bytes(size) if size else None)


@lru_cache(maxsize=_SHARED)
def _resources(cpu: str | None, memory: str | None) -> Resources:
    return Resources(
        None if cpu is None else parse_cpu(cpu), None if memory is None else parse_bytes(memory)
    )
