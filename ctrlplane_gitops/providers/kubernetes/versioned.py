"""Writing an object at the version that was looked at."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ctrlplane_gitops.cluster.api import Api
from ctrlplane_gitops.cluster.resource import ResourceType
from ctrlplane_gitops.errors import ProviderError
from ctrlplane_gitops.providers.kubernetes.manifest import Object

_T = TypeVar("_T")
_ATTEMPTS = 5


def write_at_version(
    api: Api, kind: ResourceType, found: Object, write: Callable[[Object], _T]
) -> _T:
    """What ``write`` gives for what was ``found``, or for a later version of the same
    ``metadata.generation``: the controllers write the status all the time, which makes a version of
    its own. Who has changed the spec meanwhile is not overrun: that conflict is raised, as is any
    for a kind that counts no generations."""
    metadata = found["metadata"]
    for _ in range(_ATTEMPTS - 1):
        try:
            return write(found)
        except ProviderError as error:
            if not error.is_retryable:
                raise
            fresh = api.get(kind, metadata.get("namespace"), metadata["name"])
            if fresh is None or not _is_as_it_was(fresh, found):
                raise
            found = fresh
    return write(found)


def _is_as_it_was(fresh: Object, found: Object) -> bool:
    new, old = fresh["metadata"], found["metadata"]
    generation = old.get("generation")
    return generation is not None and (new.get("generation"), new["uid"]) == (
        generation,
        old["uid"],
    )
