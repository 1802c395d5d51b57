"""What runs already and is not ours: how a provider shows it, and takes it over as it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from ctrlplane_gitops.state.desired import Resources
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.template import Port
from ctrlplane_gitops.value import field, struct


@struct
class Foreign:
    """Something that runs and is nobody's of ours, in the words of a release. ``env`` is what it
    was given besides what its image says, values and all: whoever writes it down must sort out the
    secrets. ``references`` are variables whose value is kept elsewhere, and where. ``health`` are
    checks as in specs. ``obstacles`` are why it cannot be adopted: what a release after it would
    lack. ``notes`` are what a release after it will do otherwise. ``is_autoscaled``: somebody else
    decides how many there are. ``is_described_only``: it can be said in words of a release, but not
    be one, and the notes say why."""

    name: str
    id: str
    image: str
    command: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[Port, ...] = ()
    resources: Resources = Resources()
    replicas: int = 1
    health: tuple[Mapping[str, Any], ...] = ()
    references: Mapping[str, str] = field(default_factory=dict)
    obstacles: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    is_autoscaled: bool = False
    is_described_only: bool = False


@struct
class Adoption:
    """A foreign one, and the release it is from now on: its only replica, or all of them."""

    foreign: Foreign
    instance: ResourceKey
    release: int
    revision: str


@runtime_checkable
class Describing(Protocol):
    """A provider that can say what it did not start in the words of a release."""

    def find_foreign(self, name: str, instance: ResourceKey) -> Foreign:
        """What runs there under that name, as it would be of that instance; ProviderError when
        nothing does."""
        ...


@runtime_checkable
class Adopting(Describing, Protocol):
    """A provider that can take it over as well, without a restart."""

    def adopt(self, adoption: Adoption) -> None:
        """Mark it as ours, so that whoever looks sees it, also after the store is lost. Twice is
        once. ProviderError when it is somebody else's."""
        ...
