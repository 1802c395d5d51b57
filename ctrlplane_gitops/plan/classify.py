"""Desired against recorded, resource by resource: which rows there are at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from ctrlplane_gitops.plan.change import (
    ABSENT,
    Blocked,
    Change,
    ChangeAction,
    FieldChange,
    PlanHeader,
    Policy,
)
from ctrlplane_gitops.plan.fields import count_unchanged, diff_fields
from ctrlplane_gitops.state.desired import DesiredResource, DesiredState
from ctrlplane_gitops.state.key import Kind, ResourceKey
from ctrlplane_gitops.state.observed import ObservedReplicaSet, ObservedState
from ctrlplane_gitops.state.recorded import RecordedResource, RecordedState
from ctrlplane_gitops.state.traffic import RouteEntry
from ctrlplane_gitops.value import field, record, struct

KINDS = (Kind.TENANT, Kind.SECRET, Kind.INSTANCE, Kind.DEPLOYMENT, Kind.ROUTE)


@struct
class Look:
    """The three states side by side. ``sets`` are the observed sets by instance. ``is_lost``: the
    store has no identity although replicas of ours run, so this pass only writes down. ``served``
    are the router's entries by instance, None where they are not known."""

    desired: DesiredState
    observed: ObservedState
    recorded: RecordedState
    policy: Policy
    header: PlanHeader
    sets: Mapping[ResourceKey, tuple[ObservedReplicaSet, ...]]
    is_lost: bool
    served: Mapping[ResourceKey, tuple[RouteEntry, ...]] | None = None


@struct
class Row:
    """A resource whose specs and record are not the same; either side may be missing."""

    key: ResourceKey
    desired: DesiredResource | None
    recorded: RecordedResource | None

    def record(self, commit: str) -> RecordedResource:
        """What to write down once the row is done (desired rows only)."""
        assert self.desired is not None
        return to_record(self.desired, commit)


@record
class Rows:
    """``moved`` are resources that only came to stand in another file."""

    changed: dict[ResourceKey, Row] = field(default_factory=dict)
    removed: dict[ResourceKey, Row] = field(default_factory=dict)
    moved: list[DesiredResource] = field(default_factory=list)
    unchanged: int = 0


def to_record(resource: DesiredResource, commit: str) -> RecordedResource:
    return RecordedResource(
        resource.key,
        resource.fingerprint,
        resource.text,
        resource.is_protected,
        resource.origin.path,
        commit,
    )


def classify_resources(
    desired: DesiredState, recorded: RecordedState, *, is_destroy: bool = False
) -> Rows:
    """Rows by comparing fingerprints; frozen tenants have none."""
    rows = Rows()
    wanted = {} if is_destroy else desired.resources
    frozen = {} if is_destroy else desired.frozen
    for key, resource in wanted.items():
        known = recorded.resources.get(key)
        if (
            known is None
            or known.fingerprint != resource.fingerprint
            or known.is_protected != resource.is_protected
        ):
            rows.changed[key] = Row(key, resource, known)
            continue
        rows.unchanged += 1
        if known.path != resource.origin.path:
            rows.moved.append(resource)
    for key, known in recorded.resources.items():
        if key not in wanted and key.tenant not in frozen and key.kind in KINDS:
            rows.removed[key] = Row(key, None, known)
    return rows


def make_change(
    row: Row,
    action: ChangeAction,
    reason: str,
    *,
    blocked: Blocked | None = None,
    extra: tuple[FieldChange, ...] = (),
    basis: tuple[Any, ...] = (),
    **more: Any,
) -> Change:
    """The row as a change. ``extra`` are fields that stand in no spec (``revision``, live counts);
    ``basis`` is what else the decision rests on and so belongs to the fingerprint."""
    before: Any = row.recorded.attributes if row.recorded else ABSENT
    after: Any = row.desired.attributes if row.desired else ABSENT
    is_same = bool(
        row.recorded and row.desired and row.recorded.fingerprint == row.desired.fingerprint
    )
    fields: tuple[FieldChange, ...] = ()
    if action is not ChangeAction.ADOPT and not is_same:
        fields = diff_fields(before, after)
    if row.recorded and row.desired and row.recorded.is_protected != row.desired.is_protected:
        was = FieldChange(("protect",), row.recorded.is_protected, row.desired.is_protected)
        if not any(item.path[-1:] == ("protect",) for item in fields):
            fields += (was,)
    shown = {item.path for item in fields}
    fields += tuple(item for item in extra if item.path not in shown)
    fields = tuple(sorted(fields, key=lambda item: item.path))
    touched = {item.path[0] for item in extra if item.path}
    hidden = 0
    if before is not ABSENT and after is not ABSENT:
        same = {name: value for name, value in after.items() if name not in touched}
        hidden = count_unchanged(before, same)
    return Change(
        key=row.key,
        action=action,
        reason=reason,
        fields=fields,
        origin=row.desired.origin if row.desired else None,
        blocked=blocked,
        fingerprint=_fingerprint(row, action, fields, blocked, basis),
        hidden=hidden,
        before_json=row.recorded.attributes_json if row.recorded else None,
        after_json=row.desired.attributes_json if row.desired else None,
        **more,
    )


def _fingerprint(
    row: Row,
    action: ChangeAction,
    fields: tuple[FieldChange, ...],
    blocked: Blocked | None,
    basis: tuple[Any, ...],
) -> str:
    parts = (
        row.key.address,
        str(action),
        row.desired.fingerprint if row.desired else "",
        row.recorded.fingerprint if row.recorded else "",
        [(item.path, item.before, item.after) for item in fields],
        blocked.code if blocked else "",
        basis,
    )
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def basis_of(
    sets: tuple[ObservedReplicaSet, ...], number: int | None = None, revision: str = ""
) -> tuple[Any, ...]:
    """What a decision about an instance rests on: its replicas and the release to run."""
    replicas = [
        (item.release, replica.id, str(replica.phase), str(replica.resources))
        for item in sets
        for replica in item.replicas
    ]
    replicas += [(item.release, "altered", str(one), "") for item in sets for one in item.altered]
    return (replicas, number, revision)


def is_targeted(targets: tuple[str, ...], *keys: ResourceKey) -> bool:
    """True without targets, or when one of them matches one of the addresses.

    >>> is_targeted(("*/acme/*",), ResourceKey(Kind.ROUTE, "acme", "web"))
    True
    """
    return not targets or any(fnmatchcase(key.address, glob) for key in keys for glob in targets)
