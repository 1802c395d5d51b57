"""Containers we did not make. Labels of a container cannot be changed, so another one carries them:
a marker, made of the same image and never started, that has the name and the labels of a replica
and says which container it stands for. It is found by the one list call that finds all the others;
making it is in ``marker``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from ctrlplane_gitops.providers.docker.translate import (
    Container,
    phase_of,
    published_endpoints,
    reason_of,
)
from ctrlplane_gitops.state.observed import Endpoint, ReplicaPhase
from ctrlplane_gitops.value import replace

_ANYWHERE = {"", "0.0.0.0", "::"}
Rows = Iterable[Mapping[str, Any]]


def follow_markers(
    found: Sequence[Container], ask: Callable[[Mapping[str, Any]], Rows], address: str
) -> list[Container]:
    """Each marker as the container it stands for, all of which are asked for at once; the others
    as they are. ``ask`` is given a filter of the engine's; ``address`` is where ports are reached
    that are published on every address."""
    wanted = sorted({item.adopts for item in found if item.adopts})
    if not wanted:
        return list(found)
    rows = {str(row["Id"]): row for row in ask({"id": wanted})}
    return [_follow(item, rows.get(item.adopts), address) if item.adopts else item
            for item in found]  # fmt: skip


def _follow(marker: Container, row: Mapping[str, Any] | None, address: str) -> Container:
    if row is None:
        reason = "the container that was adopted is gone"
        return replace(marker, id=marker.adopts, marker=marker.id, endpoints=(), exit_code=None,
                       phase=ReplicaPhase.STOPPED, reason=reason)  # fmt: skip
    phase, exit_code = phase_of(row)
    endpoints = published_endpoints(marker.ports_label, row.get("Ports") or ())
    return replace(
        marker,
        id=marker.adopts,
        marker=marker.id,
        phase=phase,
        created_at=datetime.fromtimestamp(int(row["Created"]), UTC),
        endpoints=tuple(_reach(item, address) for item in endpoints),
        exit_code=exit_code,
        reason=reason_of(str(row.get("State", "")), exit_code),
    )


def _reach(endpoint: Endpoint, address: str) -> Endpoint:
    return replace(endpoint, host=address) if endpoint.host in _ANYWHERE else endpoint
