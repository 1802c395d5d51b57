"""Bringing one object to what it should be: as little as possible, and never over others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ctrlplane_gitops.cluster.api import FIELD_MANAGER, Api
from ctrlplane_gitops.cluster.failure import ApiError
from ctrlplane_gitops.cluster.resource import ResourceType
from ctrlplane_gitops.errors import ProviderError
from ctrlplane_gitops.providers.effects import Effects
from ctrlplane_gitops.providers.kubernetes.going import is_going, still_going
from ctrlplane_gitops.providers.kubernetes.labelled import find_theirs
from ctrlplane_gitops.providers.kubernetes.manifest import Object, fingerprint, mark
from ctrlplane_gitops.providers.kubernetes.name import APPLIED
from ctrlplane_gitops.providers.kubernetes.row import CONTENTS, find_foreign, is_of_person

_MANAGED = "managedFields"
Foreign = Sequence[tuple[str, str]]


class Applier:
    """Applies the objects of one action. ``warnings`` are what whoever asked for it is told."""

    def __init__(self, api: Api, effects: Effects, warnings: list[str]) -> None:
        self._api = api
        self._effects = effects
        self._warnings = warnings

    def ensure(
        self,
        kind: ResourceType,
        desired: Object,
        owner: Mapping[str, str],
        *,
        is_new: bool = False,
    ) -> None:
        """Make it, or bring it to what it should be. ProviderError where there is one by that name
        that does not carry ``owner``. ``is_new``: it is made first, and looked at only where there
        is one after all."""
        metadata = desired["metadata"]
        if APPLIED not in metadata.get("annotations", {}):
            desired = mark(desired, fingerprint(desired))
        if is_new and self._is_made(kind, desired):
            return
        found = self._api.get(kind, metadata.get("namespace"), metadata["name"])
        if found is not None:
            if not _owners(found) & _owners(desired):
                check_owner(kind, found, owner)
            if is_going(found):
                raise still_going(kind.kind, found["metadata"])
            foreign = sorted(set(find_foreign(found["metadata"].get("managedFields") or ())))
            if foreign:
                self._restore(kind, found, desired, foreign)
                return
            wanted = desired["metadata"]["annotations"][APPLIED]
            held = (found["metadata"].get("annotations") or {}).get(APPLIED)
            # A label that is as it should be and somebody else's is made ours again.
            labels = desired["metadata"].get("labels", {})
            is_ours = not any(find_theirs(found["metadata"], labels))
            if held == wanted and is_ours and not _is_altered(found, desired):
                return
        self.apply(kind, desired)

    def _is_made(self, kind: ResourceType, desired: Object) -> bool:
        """False where there is one of that name."""
        try:
            with self._effects.made(f"{kind.kind.lower()}:{desired['metadata']['name']}"):
                self._warnings.extend(self._api.create(kind, desired).warnings)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
            return False
        return True

    def _restore(
        self, kind: ResourceType, found: Object, desired: Object, foreign: Foreign
    ) -> None:
        """What a person has changed or added goes; what another controller holds is an error."""
        name = desired["metadata"]["name"]
        for field, manager in foreign:
            if not is_of_person(manager):
                raise held_by(kind.kind, name, field, manager)
            self._warnings.append(f"{kind.kind} {name}: {field} is as it was before {manager}")
        theirs = {field.split(".")[1].partition("[")[0] for field, _ in foreign if "." in field}
        kept = {part: x for part, x in found.get("spec", {}).items() if part not in theirs}
        whole = desired | {"metadata": merge_metadata(found, desired)}
        if "spec" in desired:
            whole["spec"] = kept | desired["spec"]
        with self._effects.made(f"repair:{kind.kind.lower()}:{name}"):
            self._api.replace(kind, whole)

    def apply(self, kind: ResourceType, desired: Object) -> Object:
        """Server-side, first without force. What a person has changed by hand is taken back, and
        said; what another controller holds is an error that names it."""
        name = f"{kind.kind.lower()}:{desired['metadata']['name']}"
        try:
            with self._effects.made(name):
                applied = self._api.apply(kind, desired)
        except ApiError as error:
            if not error.owners:
                raise
            check_conflict(kind, desired["metadata"]["name"], error)
            for field, who in error.owners.items():
                if f'"{FIELD_MANAGER}"' not in who:
                    text = f"{kind.kind} {desired['metadata']['name']}: {field} is taken back"
                    self._warnings.append(f"{text}: {who}")
            with self._effects.made(name):
                applied = self._api.apply(kind, desired, is_forced=True)
        self._warnings.extend(applied.warnings)
        return applied.object


def merge_metadata(found: Object, desired: Object) -> Object:
    """Metadata to write an object anew with: as found, labels and annotations as we set them."""
    metadata = {name: value for name, value in found["metadata"].items() if name != _MANAGED}
    for part in ("labels", "annotations"):
        metadata[part] = {**(metadata.get(part) or {}), **desired["metadata"].get(part, {})}
    if "ownerReferences" in desired["metadata"]:
        metadata["ownerReferences"] = desired["metadata"]["ownerReferences"]
    return metadata


def check_conflict(kind: ResourceType, name: str, error: ApiError) -> None:
    """ProviderError when one of the fields is another controller's."""
    for field, message in error.owners.items():
        manager = message.partition('"')[2].partition('"')[0]
        if not is_of_person(manager):
            raise held_by(kind.kind, name, field.lstrip("."), manager)


def held_by(kind: str, name: str, field: str, manager: str) -> ProviderError:
    return ProviderError(
        f"{field} of {kind} {name} is held by {manager}, so it is left alone",
        hint=f"take it from {manager}, or leave it out of what is asked for",
        is_refusal=True,
    )


def check_owner(kind: ResourceType, found: Object, owner: Mapping[str, str]) -> None:
    """ProviderError for an object that is somebody else's."""
    labels = found["metadata"].get("labels") or {}
    if not owner.items() <= labels.items():
        raise not_ours(kind.kind, found)


def not_ours(kind: str, found: Mapping[str, Any]) -> ProviderError:
    metadata = found["metadata"]
    where = metadata.get("namespace")
    name = f"{where}/{metadata['name']}" if where else metadata["name"]
    return ProviderError(
        f"{kind} {name!r} exists and is not ours",
        hint="its labels name another owner, or none; rename or remove it by hand",
        is_refusal=True,
    )


def _is_altered(found: Object, desired: Object) -> bool:
    """Whether labels, the owner, contents or simple fields that we set are not as we set them: an
    owner that is gone takes it along. Lists are left to the fingerprint: the server fills them up
    with defaults."""
    if _owners(found) != _owners(desired):
        return True
    labels = found["metadata"].get("labels") or {}
    if not desired["metadata"].get("labels", {}).items() <= labels.items():
        return True
    if any(found.get(part) != desired[part] for part in CONTENTS if part in desired):
        return True
    return any(
        found.get("spec", {}).get(name) != value for name, value in _simple(desired.get("spec", {}))
    )


def _owners(item: Object) -> set[str]:
    return {owner["uid"] for owner in item["metadata"].get("ownerReferences") or ()}


def _simple(spec: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    for name, value in spec.items():
        is_flat = isinstance(value, dict) and all(isinstance(x, str) for x in value.values())
        if is_flat or isinstance(value, (str, int)):
            yield name, value
