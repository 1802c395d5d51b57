"""From what pydantic found to problems in plain sentences."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from ctrlplane_gitops.diagnostics import did_you_mean
from ctrlplane_gitops.specs.field import RULES
from ctrlplane_gitops.specs.later import Later
from ctrlplane_gitops.specs.problem import (
    MAX_WORD,
    Field,
    Problem,
    format_field,
    show_value,
    show_word,
    type_name,
)

MAX_PROBLEMS = 100
_TYPES = {
    "string_type": "a string",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
}
_MISSING_HINTS = {
    ("Secret", "from"): "write 'from: {env: NAME}' or 'from: {file: path}'",
    ("Route", "hosts"): "write 'hosts: [shop.example.com]'",
}
_CLEAR_KEYS = frozenset({"value", "data", "stringData", "values", "clear", "plain"})
_CLEAR_HINT = "a clear value is never written in Git: say with 'from' where the value comes from"
_HINTS = {
    ("Tenant", "tenant"): "a tenant is its own tenant: leave it out",
    ("ControlPlane", "tenant"): "a control plane has no tenant: leave it out",
}

Details = Mapping[str, Any]


def explain(
    failure: ValidationError, model: type[BaseModel], kind: str, *, is_secret: bool
) -> list[Problem]:
    """At most ``MAX_PROBLEMS``. With ``is_secret`` no text carries anything of the input but
    known keys."""
    errors = failure.errors(include_url=False)[:MAX_PROBLEMS]
    return [_explain_one(item, model, kind, is_secret) for item in errors]


def _explain_one(item: Any, model: type[BaseModel], kind: str, is_secret: bool) -> Problem:
    where: Field = tuple(item["loc"])
    is_key = bool(where) and where[-1] == "[key]"
    where = where[:-1] if is_key else where
    code = item["type"]
    if code == "extra_forbidden":
        return _unknown_key(where, model, kind, is_secret)
    path = format_field(where)
    if code == "missing":
        hint = _MISSING_HINTS.get((kind, str(where[-1])), "")
        return Problem("missing-key", f"{path} is required", hint, where)
    context: Details = item.get("ctx") or {}
    shown = "" if is_secret or is_key else show_value(item["input"])
    if code in _TYPES or code == "wrong_type":
        expected = _TYPES.get(code) or context["expected"]
        return _wrong_type(path, where, expected, item["input"])
    subject = f"{path} {shown}".rstrip()
    if is_key:
        subject = f"a key of {format_field(where[:-1])}"
        subject = subject if is_secret else f"{subject}, '{show_word(str(where[-1]))}',"
    if code == "literal_error":
        return _unknown_value(subject, where, item["input"], context, is_secret)
    rule, hint = _RULES.get(code, _other)(context)
    problem_code = "wrong-key" if is_key else "wrong-value"
    return Problem(problem_code, f"{subject} {rule}", hint, where)


def _wrong_type(path: str, where: Field, expected: str, value: Any) -> Problem:
    hint = ""
    if expected == "a string" and isinstance(value, bool | int | float):
        hint = 'quote it: "..."'
    elif expected == "true or false" and isinstance(value, str):
        hint = "write true or false without quotes; yes, no, on and off are strings"
    elif expected.startswith("a whole number") and isinstance(value, str):
        hint = "write the number without quotes"
    elif expected == "a list" and not isinstance(value, dict):
        hint = "write [...], or one '- ' line for each"
    summary = f"{path} must be {expected}, and is {type_name(value)}"
    return Problem("wrong-type", summary, hint, where)


def _unknown_key(where: Field, model: type[BaseModel], kind: str, is_secret: bool) -> Problem:
    word, parent = str(where[-1]), format_field(where[:-1])
    place = f" in {parent}" if parent else ""
    if is_secret and word in _CLEAR_KEYS:
        summary = f"'{word}'{place} would hold a secret in clear"
        return Problem("clear-secret", summary, _CLEAR_HINT, where)
    hint = _HINTS.get((kind, word)) or _suggest(word, known_keys(model, where[:-1]))
    shown = f" '{show_word(word)}'"
    if is_secret and not hint.startswith("did you mean") and (kind, word) not in _HINTS:
        # What stands here may be a value that lost its key.
        shown = ""
    return Problem("unknown-key", f"unknown key{shown}{place}", hint, where)


def _unknown_value(
    subject: str, where: Field, value: Any, context: Details, is_secret: bool
) -> Problem:
    known = [word.strip("'") for word in context["expected"].replace(" or ", ", ").split(", ")]
    hint = "known: " + ", ".join(f"'{word}'" for word in known)
    if isinstance(value, str) and not is_secret:
        hint = _suggest(value, known)
    if len(known) == 1:
        return Problem("unknown-value", f"{subject} must be '{known[0]}'", hint, where)
    return Problem("unknown-value", f"{subject} is not known", hint, where)


def _suggest(word: str, known: list[str]) -> str:
    """Comparing words takes the square of their length."""
    return did_you_mean(word[:MAX_WORD], known) if known else ""


def known_keys(model: Any, where: Field) -> list[str]:
    """The keys that may stand at a place below a document of ``model``; [] where any may."""
    for part in where:
        model = _inner_type(model, part)
    inner = _model_in(model)
    return [] if inner is None else [field.alias or name for name, field in _fields(inner)]


def _fields(model: type[BaseModel]) -> list[tuple[str, Any]]:
    return list(model.model_fields.items())


def _inner_type(annotation: Any, part: str | int) -> Any:
    model = _model_in(annotation)
    if model is not None and isinstance(part, str):
        found = (field for name, field in _fields(model) if part in (name, field.alias))
        field = next(found, None)
        return None if field is None else field.annotation
    for candidate in (annotation, *get_args(annotation)):
        if get_origin(candidate) in (list, dict):
            return get_args(candidate)[-1]
    return None


def _model_in(annotation: Any) -> type[BaseModel] | None:
    for candidate in (annotation, *get_args(annotation)):
        for item in (candidate, *getattr(candidate, "__metadata__", ())):
            if isinstance(item, Later):
                return item.load()
            if isinstance(item, type) and issubclass(item, BaseModel):
                return item
    return None


def _pattern(context: Details) -> tuple[str, str]:
    return RULES.get(context["pattern"], "is not written as it must be"), ""


def _too_few(context: Details) -> tuple[str, str]:
    least = context["min_length"]
    return f"needs at least {least} item{'s' if least != 1 else ''}", ""


def _other(context: Details) -> tuple[str, str]:
    return "is not valid", ""


_RULES: dict[str, Callable[[Details], tuple[str, str]]] = {
    "rule": lambda context: (context["rule"], context["hint"]),
    "string_pattern_mismatch": _pattern,
    "string_too_long": lambda x: (f"has more than {x['max_length']} characters", ""),
    "string_too_short": lambda x: ("may not be empty", ""),
    "too_short": _too_few,
    "too_long": lambda x: (f"has more than {x['max_length']} items", "split it"),
    "greater_than_equal": lambda x: (f"must be at least {x['ge']}", ""),
    "less_than_equal": lambda x: (f"must be at most {x['le']}", ""),
}
"""The rest of a sentence that begins with the field, and a hint, by pydantic's type of error."""
