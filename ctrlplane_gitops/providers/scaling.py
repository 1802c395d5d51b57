"""Which replicas to start and which to remove: the part of ``ScaleReplicaSet`` that needs no
backend, the same for every provider that keeps replicas by index."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ctrlplane_gitops.errors import ProviderError
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.template import ReleaseTemplate, SecretType
from ctrlplane_gitops.value import struct

if TYPE_CHECKING:
    from ctrlplane_gitops.state.action import Material


@struct
class Slot:
    """A replica that exists, live or not."""

    index: int
    name: str
    is_live: bool


@struct
class ScaleSteps:
    """``replace`` are dead replicas to start again in their index, ``start`` free indices,
    ``remove`` indices to stop and clean up. All sorted."""

    start: tuple[int, ...] = ()
    replace: tuple[int, ...] = ()
    remove: tuple[int, ...] = ()


def replica_name(plane: str, instance: ResourceKey, release: int, index: int) -> str:
    """The deterministic name of a replica.

    >>> from ctrlplane_gitops.state.key import instance_key
    >>> replica_name("prod", instance_key("acme", "web"), 3, 0)
    'prod.acme.web.v3.0'
    """
    return f"{plane}.{instance.tenant}.{instance.name}.v{release}.{index}"


def compute_scale(slots: Iterable[Slot], replicas: int, retire: Iterable[str] = ()) -> ScaleSteps:
    """The steps to ``replicas`` live ones: surplus goes in the order retired, dead, highest index.

    >>> slots = [Slot(0, "a", True), Slot(1, "b", False), Slot(2, "c", True)]
    >>> compute_scale(slots, 3)
    ScaleSteps(start=(), replace=(1,), remove=())
    >>> compute_scale(slots, 2)
    ScaleSteps(start=(), replace=(), remove=(1,))
    >>> compute_scale(slots, 2, retire=["c"])
    ScaleSteps(start=(), replace=(1,), remove=(2,))
    >>> compute_scale(slots, 5)
    ScaleSteps(start=(3, 4), replace=(1,), remove=())
    """
    found = {slot.index: slot for slot in slots}
    retired = set(retire)
    order = sorted(
        found.values(), key=lambda slot: (slot.name not in retired, slot.is_live, -slot.index)
    )
    gone = {slot.index for slot in order[: max(0, len(found) - replicas)]}
    kept = set(found) - gone
    free = (index for index in range(replicas + len(found)) if index not in found)
    return ScaleSteps(
        start=tuple(next(free) for _ in range(replicas - len(kept))),
        replace=tuple(sorted(index for index in kept if not found[index].is_live)),
        remove=tuple(sorted(gone)),
    )


def check_material(template: ReleaseTemplate, material: Material) -> None:
    """ProviderError naming the first secret or file whose content was not handed in."""
    for mount in template.secrets:
        is_needed = mount.type in (SecretType.ENV, SecretType.FILE)
        if is_needed and mount.secret not in material.secrets:
            raise ProviderError(f"{mount.secret} has no value, so nothing was started")
    for file in template.files:
        if file.digest not in material.files:
            raise ProviderError(f"file {file.path!r} has no content, so nothing was started")
