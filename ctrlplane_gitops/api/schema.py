"""JSON Schemas of what is answered, from the types of the values themselves."""

from __future__ import annotations

import inspect
import types
from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import Any, Union, get_args, get_origin, get_type_hints

_PLAIN: Mapping[Any, dict[str, Any]] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    datetime: {"type": "string", "format": "date-time"},
    Any: {},
    object: {},
    dict: {"type": "object"},
}


def schema_of(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema of a type of ours as ``as_json`` shows it. Classes are put into ``definitions`` by
    name and referred to.

    >>> schema_of(tuple[int | None, ...], {})
    {'type': 'array', 'items': {'type': ['integer', 'null']}}
    """
    if kind in _PLAIN:
        return dict(_PLAIN[kind])
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _schema_of_maybe(arguments, definitions)
    if origin is tuple:
        return {"type": "array", "items": schema_of(arguments[0], definitions)}
    if origin is not None and issubclass(origin, Mapping):
        values = schema_of(arguments[1], definitions)
        return {"type": "object", **({"additionalProperties": values} if values else {})}
    if issubclass(kind, Enum):
        return {"type": "string", "enum": [item.value for item in kind]}
    return _refer(kind, definitions)


def _schema_of_maybe(kinds: tuple[Any, ...], definitions: dict[str, Any]) -> dict[str, Any]:
    [kind] = [item for item in kinds if item is not type(None)]
    schema = schema_of(kind, definitions)
    if "type" in schema:
        return {**schema, "type": [schema["type"], "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


def _refer(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    name = kind.__name__
    if name not in definitions:
        definitions[name] = {}
        hints = get_type_hints(kind)
        properties = {key: schema_of(hints[key], definitions) for key in kind.__match_args__}
        definitions[name] = {
            "type": "object",
            **_description_of(kind),
            "properties": properties,
            "required": list(properties),
            "additionalProperties": False,
        }
    return {"$ref": f"#/components/schemas/{name}"}


def _description_of(kind: type) -> dict[str, str]:
    text = inspect.cleandoc(kind.__doc__ or "")
    return {"description": " ".join(text.split())} if text else {}
