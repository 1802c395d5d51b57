"""Records as JSON text and back. Written by hand: a load of ten thousand rows must be quick."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ctrlplane_gitops.clock import rfc3339
from ctrlplane_gitops.state.key import Kind, ResourceKey
from ctrlplane_gitops.state.recorded import RecordedInstance, RolloutPhase, RolloutStatus
from ctrlplane_gitops.state.template import (
    FileMount,
    Port,
    Release,
    ReleaseState,
    ReleaseTemplate,
    SecretMount,
    SecretType,
    Volume,
)

_SETTLED = RolloutStatus()
# ``json.loads`` looks at everything it could have been asked first, which takes as long again.
_decode = json.JSONDecoder().decode


def encode_time(at: datetime) -> str:
    """Microseconds are kept: a deadline must not move because it was written down."""
    return rfc3339(at)[:-5] + f".{at.microsecond:06d}Z"


def decode_time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def encode_json(value: Any) -> str:
    """Compact, keys sorted."""
    return json.dumps(value, separators=(",", ":"), sort_keys=True)


def _maybe(at: datetime | None) -> str | None:
    return None if at is None else encode_time(at)


def _time_or_none(text: str | None) -> datetime | None:
    return None if text is None else decode_time(text)


def encode_rollout(status: RolloutStatus) -> str:
    """An empty text for the status most rows have."""
    if status == _SETTLED:
        return ""
    return encode_json(
        {
            "phase": status.phase.value,
            "target": status.target,
            "previous": status.previous,
            "started_at": _maybe(status.started_at),
            "progress_at": _maybe(status.progress_at),
            "best_available": status.best_available,
            "message": status.message,
            "step": status.step,
            "step_at": _maybe(status.step_at),
            "replicas": status.replicas,
        }
    )


def decode_rollout(text: str) -> RolloutStatus:
    if not text:
        return _SETTLED
    raw = _decode(text)
    return RolloutStatus(
        RolloutPhase(raw["phase"]),
        raw["target"],
        raw["previous"],
        _time_or_none(raw["started_at"]),
        _time_or_none(raw["progress_at"]),
        raw["best_available"],
        raw["message"],
        raw.get("step", 0),
        _time_or_none(raw.get("step_at")),
        raw.get("replicas", 0),
    )


def decode_instance(key: ResourceKey, row: tuple[Any, ...]) -> RecordedInstance:
    """From ``(provider, release, pin, rollout)``."""
    provider, release, pin, rollout = row
    return RecordedInstance(key, provider, release, pin, decode_rollout(rollout))


def encode_template(template: ReleaseTemplate) -> str:
    """Only what is set: most templates have no volumes, files or secrets."""
    raw: dict[str, Any] = {"provider": template.provider}
    if template.image is not None:
        raw["image"] = template.image
    if template.command:
        raw["command"] = list(template.command)
    if template.env:
        raw["env"] = dict(template.env)
    if template.ports:
        raw["ports"] = [[item.name, item.port] for item in template.ports]
    if template.volumes:
        raw["volumes"] = [[item.name, item.path, item.size_bytes] for item in template.volumes]
    if template.files:
        raw["files"] = [[item.path, item.digest, item.mode] for item in template.files]
    if template.secrets:
        raw["secrets"] = [
            [item.secret.tenant, item.secret.name, item.type.value, item.target, item.digest]
            for item in template.secrets
        ]
    return encode_json(raw)


def decode_template(text: str) -> ReleaseTemplate:
    raw: Mapping[str, Any] = json.loads(text)
    return ReleaseTemplate(
        raw["provider"],
        raw.get("image"),
        tuple(raw.get("command", ())),
        raw.get("env", {}),
        tuple([Port(*item) for item in raw.get("ports", ())]),
        tuple([Volume(*item) for item in raw.get("volumes", ())]),
        tuple([FileMount(*item) for item in raw.get("files", ())]),
        tuple([_decode_secret(item) for item in raw.get("secrets", ())]),
    )


def _decode_secret(item: list[str]) -> SecretMount:
    tenant, name, type, target, digest = item
    return SecretMount(ResourceKey(Kind.SECRET, tenant, name), SecretType(type), target, digest)


def encode_release(release: Release) -> tuple[Any, ...]:
    """A row: tenant, name, number, revision, template, commit, created_at, state, reason,
    resolved."""
    return (
        release.instance.tenant,
        release.instance.name,
        release.number,
        release.revision,
        encode_template(release.template),
        release.commit,
        encode_time(release.created_at),
        release.state.value,
        release.reason,
        encode_json(dict(release.resolved)) if release.resolved else "",
    )


def decode_release(key: ResourceKey, row: tuple[Any, ...]) -> Release:
    """From what comes after tenant and name in ``encode_release``'s row."""
    number, revision, template, commit, created_at, state, reason, resolved = row
    return Release(
        key,
        number,
        revision,
        decode_template(template),
        commit,
        decode_time(created_at),
        ReleaseState(state),
        reason,
        json.loads(resolved) if resolved else {},
    )
