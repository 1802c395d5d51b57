"""What is on its way out, and who does not let it go. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ctrlplane_gitops.errors import ProviderError
from ctrlplane_gitops.providers.kubernetes.row import OWN_FINALIZERS, PodRow, find_finalizers

# Of a namespace that does not go: what is left in it, whose word is awaited, who cannot be asked.
_TELLING = (
    "NamespaceDeletionDiscoveryFailure",
    "NamespaceDeletionContentFailure",
    "NamespaceContentRemaining",
    "NamespaceFinalizersRemaining",
)


def is_going(item: Mapping[str, Any]) -> bool:
    return "deletionTimestamp" in item["metadata"]


def is_held(item: Mapping[str, Any]) -> bool:
    """Whether nothing but somebody's finalizers keeps it: Kubernetes has done its part."""
    metadata = item["metadata"]
    own = [it for it in metadata.get("finalizers") or () if it in OWN_FINALIZERS]
    return is_going(item) and not own and bool(find_finalizers(metadata))


def still_going(
    kind: str, metadata: Mapping[str, Any], pods: Iterable[PodRow] = ()
) -> ProviderError:
    """Retryable. ``pods`` are those of a Deployment, which it waits for."""
    where = metadata.get("namespace")
    name = f"{where}/{metadata['name']}" if where else metadata["name"]
    return _error(f"{kind} {name!r}", describe_holders(find_finalizers(metadata), pods))


def namespace_going(found: Mapping[str, Any]) -> ProviderError:
    """Retryable; with what its controller says of it."""
    conditions = (found.get("status") or {}).get("conditions") or ()
    told = {it.get("type"): str(it.get("message")) for it in conditions if it["status"] == "True"}
    texts = [told[name].rstrip(". ") for name in _TELLING if name in told]
    return _error(f"namespace {found['metadata']['name']!r}", texts)


def describe_holders(finalizers: Sequence[str], pods: Iterable[PodRow] = ()) -> list[str]:
    """
    >>> describe_holders(["example.com/audit"])
    ['it is held by example.com/audit']
    """
    texts = [f"it is held by {', '.join(finalizers)}"] if finalizers else []
    for pod in sorted(pods, key=lambda pod: pod.name):
        if not pod.is_final:
            texts.append(f"pod {pod.name} has not stopped yet")
        elif pod.finalizers:
            texts.append(f"pod {pod.name} is held by {', '.join(pod.finalizers)}")
    return texts


def _error(what: str, texts: Sequence[str]) -> ProviderError:
    return ProviderError(
        f"{what} is still being removed{': ' if texts else ''}{'; '.join(texts)}",
        hint="it goes once whoever holds it lets go; the next pass tries again" if texts else None,
        is_retryable=True,
    )
