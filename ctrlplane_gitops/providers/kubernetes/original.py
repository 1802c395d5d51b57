"""What an adopted Deployment ran when it was adopted, and what somebody has made of it since.

The cluster keeps the ReplicaSets of earlier templates (``revisionHistoryLimit``), as ``kubectl
rollout undo`` has it; so nothing has to be kept by us that may be secret."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ctrlplane_gitops.cluster.api import Api
from ctrlplane_gitops.cluster.resource import DEPLOYMENT, REPLICA_SET
from ctrlplane_gitops.providers.effects import Effects
from ctrlplane_gitops.providers.kubernetes.applying import held_by
from ctrlplane_gitops.providers.kubernetes.foreign import PRINTED, print_of
from ctrlplane_gitops.providers.kubernetes.manifest import Object
from ctrlplane_gitops.providers.kubernetes.name import APPLIED
from ctrlplane_gitops.providers.kubernetes.row import find_foreign, is_of_person
from ctrlplane_gitops.providers.kubernetes.versioned import write_at_version

if TYPE_CHECKING:
    from ctrlplane_gitops.providers.kubernetes.acting import Site

_CONTAINERS = "spec.template.spec.containers"


def find_changed(api: Api, namespace: str, name: str) -> tuple[tuple[str, str], ...]:
    """Fields of an adopted Deployment that are not as they were, with who changed them last; none
    where nobody has, and where the cluster does not remember any more."""
    found = api.get(DEPLOYMENT, namespace, name)
    original = None if found is None else _find_original(api, found)
    return () if found is None or original is None else tuple(_compare(found, original))


def restore(site: Site, found: Object, effects: Effects, warnings: list[str]) -> Object:
    """Have it run what it ran then; the Deployment as it is after that. ProviderError that names
    the field where another controller holds it."""
    original = _find_original(site.api, found)
    changed = () if original is None else tuple(_compare(found, original))
    name = str(found["metadata"]["name"])
    for field, manager in changed:
        if manager and not is_of_person(manager):
            raise held_by("Deployment", name, field, manager)
        warnings.append(f"Deployment {name}: {field} is as it was before {manager or 'somebody'}")
    if original is None or not changed:
        return found

    def write(current: Object) -> Object:
        containers = current["spec"]["template"]["spec"]["containers"]
        # A list is replaced as a whole; what somebody has put beside is theirs.
        whole = [_put_back(it, original) if it["name"] == original["name"] else it
                 for it in containers]  # fmt: skip
        body = {
            "metadata": {"resourceVersion": current["metadata"]["resourceVersion"]},
            "spec": {"template": {"spec": {"containers": whole}}},
        }
        with effects.made(f"restore:{name}"):
            return site.api.patch(DEPLOYMENT, current["metadata"]["namespace"], name, body)

    return write_at_version(site.api, DEPLOYMENT, found, write)


def _find_original(api: Api, found: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The container as it was; None where it still is, or nobody knows."""
    metadata = found["metadata"]
    held = (metadata.get("annotations") or {}).get(APPLIED)
    if held is None or held == print_of(found):
        return None

    def read(item: Mapping[str, Any]) -> Mapping[str, Any] | None:
        owners = item["metadata"].get("ownerReferences") or ()
        is_its = any(owner.get("uid") == metadata["uid"] for owner in owners)
        return _container_of(item) if is_its and print_of(item) == held else None

    labels = found["spec"]["selector"].get("matchLabels") or {}
    rows = api.read_all(REPLICA_SET, labels, read, namespace=metadata["namespace"])
    return next((row for row in rows if row is not None), None)


def _put_back(container: Mapping[str, Any], original: Mapping[str, Any]) -> dict[str, Any]:
    kept = {part: value for part, value in container.items() if part not in PRINTED}
    return kept | {part: original[part] for part in PRINTED if part in original}


def _compare(found: Mapping[str, Any], original: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """None where there is no container of that name any more."""
    containers = found["spec"]["template"]["spec"]["containers"]
    name = str(original["name"])
    for now in (it for it in containers if it["name"] == name):
        for part in PRINTED:
            if now.get(part) != original.get(part):
                new = _find_new(now.get(part), original.get(part))
                yield f"{_CONTAINERS}[{name}].{part}", _find_writer(found, name, part, new)


def _find_new(now: Any, before: Any) -> list[str] | None:
    """Of a list of named entries those that are not as they were; None: it is no such list."""
    entries, known = now or [], before or []
    if not all(isinstance(it, dict) and "name" in it for it in (*entries, *known)):
        return None
    return [str(it["name"]) for it in entries if it not in known]


def _find_writer(found: Mapping[str, Any], container: str, part: str, new: list[str] | None) -> str:
    """Who wrote that field of the container last, or any of its ``new`` entries; "" where nobody
    says so, as of what was taken away."""
    field = f'{_CONTAINERS}[{{"name":"{container}"}}].{part}'
    starts = [field] if new is None else [f'{field}[{{"name":"{name}"}}]' for name in new]
    entries = sorted(
        found["metadata"].get("managedFields") or (), key=lambda it: str(it.get("time", ""))
    )
    for entry in reversed(entries):
        for path, manager in find_foreign([entry]):
            if any(path == it or path.startswith((f"{it}.", f"{it}[")) for it in starts):
                return manager
    return ""


def _container_of(item: Mapping[str, Any]) -> Mapping[str, Any]:
    """Of a template that was adopted, which has no other."""
    found: Mapping[str, Any] = item["spec"]["template"]["spec"]["containers"][0]
    return found
