"""One composed document to a validated one, or to everything that is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from sys import intern
from typing import Any

from pydantic import ValidationError

from ctrlplane_gitops.diagnostics import did_you_mean
from ctrlplane_gitops.specs.document import Document
from ctrlplane_gitops.specs.explain import MAX_PROBLEMS, explain
from ctrlplane_gitops.specs.field import NAME
from ctrlplane_gitops.specs.model import API_VERSION, Envelope
from ctrlplane_gitops.specs.problem import (
    MAX_WORD,
    Field,
    Problem,
    format_field,
    show_value,
    type_name,
)
from ctrlplane_gitops.specs.sharing import share, share_parts
from ctrlplane_gitops.specs.yaml import ComposedDocument
from ctrlplane_gitops.state.key import Kind, ResourceKey
from ctrlplane_gitops.value import replace, struct

_MODULES = {
    "ControlPlane": "control_plane",
    "Tenant": "tenant",
    "Instance": "instance",
    "Deployment": "deployment",
    "Route": "route",
    "Secret": "secret",
}
"""Where the model of a kind is, named ``<kind>Document``. Each is loaded with its first document:
what the control plane is should be known before all others are."""
KINDS: dict[str, Kind] = {name: Kind(name.lower()) for name in _MODULES}
_GROUP = API_VERSION.split("/", 1)[0]
_IGNORE_HINT = "if it is not meant for us, add its path to spec.ignore in ctrlplane.yaml"


@struct
class Finding:
    """The problems of a document that is not sound. ``address`` and ``tenant`` are empty where
    they cannot be known. Of a Secret even a path may hold a value that lost its key."""

    problems: tuple[Problem, ...]
    address: str = ""
    tenant: str = ""
    is_secret: bool = False


@cache
def load_model(kind: str) -> type[Envelope]:
    """The model of a whole document; ``kind`` is one of KINDS."""
    module = import_module(f"ctrlplane_gitops.specs.{_MODULES[kind]}")
    model: type[Envelope] = getattr(module, f"{kind}Document")
    return model


def read_document(composed: ComposedDocument, path: str, index: int) -> Document | Finding | None:
    """None for an empty document."""
    value = composed.value
    if value is None:
        return None if not composed.problems else Finding(tuple(composed.problems))
    if not isinstance(value, dict):
        summary = f"a document must be a mapping, and is {type_name(value)}"
        return Finding((*composed.problems, Problem("not-a-mapping", summary)))
    kind: Any = value.get("kind")
    early = list(composed.problems)
    if composed.has_null:
        early += find_nulls(value)
        value = _without_nulls(value)
    if kind == "Secret":
        early = [_without_words(problem) for problem in early]
    stranger = _find_stranger(value)
    if stranger is not None:
        return _finding(value, [*early, stranger])
    model = load_model(kind)
    try:
        read: Any = model.model_validate(value)
    except ValidationError as failure:
        is_secret = kind == "Secret"
        found = explain(failure, model, kind, is_secret=is_secret)
        found += _find_more(failure, value, model)
        return _finding(value, [*early, *_unless_told(found, early)])
    found = [_below_spec(problem) for problem in read.spec.find_problems()]
    if early or found:
        return _finding(value, [*early, *_unless_told(found, early)])
    return _document(read, KINDS[kind], path, index, composed)


def _document(read: Any, kind: Kind, path: str, index: int, composed: ComposedDocument) -> Document:
    metadata = read.metadata
    tenant = "" if kind is Kind.CONTROL_PLANE else getattr(metadata, "tenant", metadata.name)
    return Document(
        kind,
        share(tenant),
        intern(metadata.name),
        share_parts(read.spec.normalise()),
        path,
        index,
        composed.line,
        composed.column,
        share(metadata.labels),
        share(metadata.annotations),
    )


def _without_words(problem: Problem) -> Problem:
    """In a Secret, what stands at the place of a key may be a value that lost its key."""
    if problem.code == "duplicate-key":
        return replace(problem, summary="duplicate key")
    if problem.code == "empty-value":
        parent = format_field(problem.field[:-1][:1]) or "the document"
        return replace(problem, summary=f"a key or item below {parent} is empty")
    return problem


def _below_spec(problem: Problem) -> Problem:
    where: Field = ("spec", *problem.field)
    return Problem(problem.code, problem.summary, problem.hint, where)


def _find_stranger(value: dict[str, Any]) -> Problem | None:
    """Why a document cannot be validated at all."""
    version, kind = value.get("apiVersion"), value.get("kind")
    is_known = isinstance(kind, str) and kind in KINDS
    is_ours = isinstance(version, str) and (
        version.startswith(_GROUP)
        or did_you_mean(version[:MAX_WORD], [API_VERSION]).startswith("did you mean")
    )
    if isinstance(version, str) and not is_ours:
        summary = f"apiVersion {show_value(version)} is not ours"
        hint = f"write 'apiVersion: {API_VERSION}'; {_IGNORE_HINT}"
        return Problem("unknown-api-version", summary, hint, ("apiVersion",))
    if is_known:
        return None
    if version is None and kind is None:
        summary = "this is not a spec: it has neither apiVersion nor kind"
        return Problem("not-a-spec", summary, _IGNORE_HINT)
    if kind is None:
        return Problem("missing-key", "kind is required", _known_kinds(), ("kind",))
    if not isinstance(kind, str):
        summary = f"kind must be a string, and is {type_name(kind)}"
        return Problem("wrong-type", summary, _known_kinds(), ("kind",))
    hint = did_you_mean(kind[:MAX_WORD], list(KINDS))
    return Problem("unknown-kind", f"kind {show_value(kind)} is not known", hint, ("kind",))


def _known_kinds() -> str:
    return "known: " + ", ".join(sorted(KINDS))


def _finding(value: dict[str, Any], problems: list[Problem]) -> Finding:
    kind = value.get("kind")
    metadata = value.get("metadata")
    is_secret = kind == "Secret"
    unsure = {problem.field for problem in problems if problem.code == "duplicate-key"}
    if not isinstance(metadata, dict) or unsure & {("metadata",), ("kind",)}:
        return Finding(tuple(problems), is_secret=is_secret)
    name = _sound_name(metadata, "name", unsure)
    tenant = _sound_name(metadata, "tenant", unsure)
    if kind == "ControlPlane":
        return Finding(tuple(problems), f"{Kind.CONTROL_PLANE}/{name}" if name else "")
    tenant = name if kind == "Tenant" else tenant
    address = ""
    if isinstance(kind, str) and kind in KINDS and name and tenant:
        address = ResourceKey(KINDS[kind], tenant, name).address
    return Finding(tuple(problems), address, tenant, is_secret)


def _sound_name(metadata: dict[str, Any], key: str, unsure: set[Field]) -> str:
    """A name that can be relied on: a wrong one could freeze the wrong tenant."""
    name = metadata.get(key)
    if not isinstance(name, str) or len(name) > 63 or ("metadata", key) in unsure:
        return ""
    return name if re.fullmatch(NAME.strip("^$"), name) else ""


def _unless_told(found: list[Problem], told: list[Problem]) -> Iterator[Problem]:
    """Without what only follows from an earlier problem at the same place."""
    places = {problem.field for problem in told if problem.field}
    for problem in found:
        if not any(problem.field[:n] in places for n in range(1, len(problem.field) + 1)):
            yield problem


def _find_more(
    failure: ValidationError, value: dict[str, Any], model: type[Envelope]
) -> list[Problem]:
    """Where only keys are unknown, what is wrong with the rest: all problems at once."""
    errors = failure.errors(include_url=False, include_input=False, include_context=False)
    if any(item["type"] != "extra_forbidden" for item in errors):
        return []
    try:
        read: Any = model.model_validate(_without(value, {tuple(item["loc"]) for item in errors}))
    except ValidationError:
        return []
    return [_below_spec(problem) for problem in read.spec.find_problems()]


def find_nulls(value: Any) -> list[Problem]:
    """A problem for each key or item without a value: most often a slip of the indentation."""
    found: list[Problem] = []
    pending: list[tuple[Any, Field]] = [(value, ())]
    while pending and len(found) < MAX_PROBLEMS:
        item, where = pending.pop()
        if item is None:
            hint = 'remove the key, give it a value, or write "" for an empty string'
            found.append(Problem("empty-value", f"{format_field(where)} is empty", hint, where))
        elif isinstance(item, dict):
            pending += [(inner, (*where, key)) for key, inner in item.items()]
        elif isinstance(item, list):
            pending += [(inner, (*where, index)) for index, inner in enumerate(item)]
    return found


def _without_nulls(value: Any) -> Any:
    """At most ``yaml.MAX_DEPTH`` deep, so it may recurse. Items of lists stay where they are."""
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _without(value: Any, places: set[Field], where: Field = ()) -> Any:
    if isinstance(value, dict):
        kept = {key: item for key, item in value.items() if (*where, key) not in places}
        return {key: _without(item, places, (*where, key)) for key, item in kept.items()}
    if isinstance(value, list):
        return [_without(item, places, (*where, n)) for n, item in enumerate(value)]
    return value
