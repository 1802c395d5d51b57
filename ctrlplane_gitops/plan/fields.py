"""Two specs, field by field. Secret digests never leave this file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ctrlplane_gitops.plan.change import ABSENT, FieldChange
from ctrlplane_gitops.redact import MASK
from ctrlplane_gitops.state.desired import Resources
from ctrlplane_gitops.state.template import ReleaseTemplate
from ctrlplane_gitops.units import format_bytes, format_cpu

_SENSITIVE = frozenset({"valueDigest"})
_LABELS = ("name", "path")
_PAGES = (4096, 16384, 65536)  # bytes, by processor


def diff_fields(before: Any, after: Any) -> tuple[FieldChange, ...]:
    """Every difference between two specs (``ABSENT`` for none), sorted by path.

    Mappings are compared key by key, lists of mappings that each have a ``name`` (or ``path``) of
    their own by that, everything else as a whole.

    >>> diff_fields({"env": {"A": "1"}, "replicas": 2}, {"env": {"A": "2"}, "replicas": 2})
    (FieldChange(path=('env', 'A'), before='1', after='2'),)
    """
    return tuple(sorted(_walk((), before, after), key=lambda item: item.path))


def count_unchanged(before: Mapping[str, Any], after: Mapping[str, Any]) -> int:
    """How many top-level attributes are the same on both sides.

    >>> count_unchanged({"a": 1, "b": 2}, {"a": 1, "b": 3})
    1
    """
    return sum(1 for name, value in after.items() if name in before and before[name] == value)


def _walk(path: tuple[str, ...], before: Any, after: Any) -> Iterator[FieldChange]:
    if path and path[-1] in _SENSITIVE:
        if before != after:
            yield FieldChange(path, _mask(before), _mask(after))
        return
    left, right = _as_mapping(before), _as_mapping(after)
    if left is None or right is None or not (left or right):
        # Not both can be entered: an empty mapping against nothing is a difference of its own.
        if before == after or _is_nothing(before, after):
            return
        yield FieldChange(path, mask_spec(before), mask_spec(after))
        return
    inside = [
        change
        for name in sorted({*left, *right})
        for change in _walk((*path, name), left.get(name, ABSENT), right.get(name, ABSENT))
    ]
    if not inside and before != after and isinstance(before, list) and isinstance(after, list):
        # The same items in another order, which matters: the first port is PORT.
        inside = [FieldChange(path, mask_spec(before), mask_spec(after))]
    yield from inside


def _is_nothing(before: Any, after: Any) -> bool:
    """Nothing against an empty value: a row would only be noise."""
    return all(value is ABSENT or value is None or value in ({}, []) for value in (before, after))


def _as_mapping(value: Any) -> Mapping[str, Any] | None:
    """A mapping as it is, a list of labelled mappings by label, ``ABSENT`` as empty, else None."""
    if value is ABSENT:
        return {}
    if isinstance(value, Mapping):
        return value
    if isinstance(value, Sequence) and not isinstance(value, str) and value:
        for label in _LABELS:
            names = [item.get(label) if isinstance(item, Mapping) else None for item in value]
            if all(isinstance(name, str) for name in names) and len(set(names)) == len(names):
                return {
                    str(name): {key: item[key] for key in item if key != label}
                    for name, item in zip(names, value, strict=True)
                }
    return None


def _mask(value: Any) -> Any:
    return value if value is ABSENT or value is None else MASK


def mask_spec(value: Any) -> Any:
    """The value with anything sensitive inside it masked."""
    if isinstance(value, Mapping):
        return {
            key: _mask(item) if key in _SENSITIVE else mask_spec(item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [mask_spec(item) for item in value]
    return value


def explain_revision(before: ReleaseTemplate | None, after: ReleaseTemplate) -> tuple[str, ...]:
    """Why a new release is needed, one phrase per cause, in the words of the specs.

    Shape: ``("image changed", "secret/acme/token rotated")``; empty when ``before`` is not known.
    """
    if before is None:
        return ()
    causes = []
    if before.provider != after.provider:
        causes.append(f"moves from provider {before.provider} to {after.provider}")
    if before.image != after.image:
        causes.append("image changed")
    if before.command != after.command:
        causes.append("command changed")
    if before.env != after.env:
        names = sorted({name for name, _ in set(before.env.items()) ^ set(after.env.items())})
        causes.append(f"env {', '.join(names)} changed")
    if before.ports != after.ports:
        causes.append("ports changed")
    if before.volumes != after.volumes:
        causes.append("volumes changed")
    changed = _changed(
        {item.path: item for item in before.files}, {item.path: item for item in after.files}
    )
    causes.extend(f"file {path} {verb}" for path, verb in changed)
    causes.extend(_explain_secrets(before, after))
    return tuple(causes)


def _explain_secrets(before: ReleaseTemplate, after: ReleaseTemplate) -> Iterator[str]:
    old = {(item.secret.address, item.type, item.target): item.digest for item in before.secrets}
    new = {(item.secret.address, item.type, item.target): item.digest for item in after.secrets}
    seen = set()
    for (address, _, _), verb in _changed(old, new):
        text = f"{address} {'rotated' if verb == 'changed' else verb}"
        if text not in seen:
            seen.add(text)
            yield text


def _changed(before: Mapping[Any, Any], after: Mapping[Any, Any]) -> Iterable[tuple[Any, str]]:
    for name in sorted({*before, *after}):
        if name not in before:
            yield name, "added"
        elif name not in after:
            yield name, "removed"
        elif before[name] != after[name]:
            yield name, "changed"


def diff_limits(desired: Resources, live: Resources) -> tuple[FieldChange, ...]:
    """Limits that differ, as text; only those the specs state. Kernels hold memory limits in whole
    pages, so memory that was merely rounded down does not differ.

    >>> [item.before for item in diff_limits(Resources(500), Resources(250, 7))]
    ['500m']
    >>> diff_limits(Resources(memory_bytes=100_000_000), Resources(memory_bytes=99_999_744))
    ()
    """
    found = []
    if desired.cpu_millicores is not None and desired.cpu_millicores != live.cpu_millicores:
        after = live.cpu_millicores
        found.append(
            FieldChange(
                ("resources", "cpu"),
                format_cpu(desired.cpu_millicores),
                ABSENT if after is None else format_cpu(after),
            )
        )
    if desired.memory_bytes is not None and not _is_same_size(
        desired.memory_bytes, live.memory_bytes
    ):
        size = live.memory_bytes
        found.append(
            FieldChange(
                ("resources", "memory"),
                format_bytes(desired.memory_bytes),
                ABSENT if size is None else format_bytes(size),
            )
        )
    return tuple(found)


def _is_same_size(desired: int, live: int | None) -> bool:
    return live == desired or any(live == desired - desired % page for page in _PAGES)
