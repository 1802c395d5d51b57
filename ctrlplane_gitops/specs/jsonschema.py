"""JSON Schemas of all kinds, from the models: for editors, and for checks outside this program.

They describe what may be written, not the normalised spec. What needs two places of a document at
once (no port twice, one deadline before another) only ``validate`` knows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic.json_schema import GenerateJsonSchema
from pydantic_core.core_schema import PlainValidatorFunctionSchema

from ctrlplane_gitops.specs.envelope import KINDS, load_model
from ctrlplane_gitops.specs.later import METADATA

BASE = "https://ctrlplane.dev/schemas/v1"
ALL_KINDS = "ctrlplane.json"
_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def build_schemas() -> Mapping[str, dict[str, Any]]:
    """Schema of a whole document by file name, one for each kind, and ``ctrlplane.json`` for a
    document of any kind."""
    kinds = {name: _build_kind(name) for name in KINDS}
    schemas = {_file_name(name): _header(_file_name(name)) | kinds[name] for name in kinds}
    definitions: dict[str, Any] = {}
    for name, schema in kinds.items():
        own = {key: value for key, value in schema.items() if key != "$defs"}
        definitions |= schema.get("$defs", {}) | {name: own}
    schemas[ALL_KINDS] = _header(ALL_KINDS) | {
        "title": "Document",
        "description": "A document of any kind.",
        "oneOf": [{"$ref": f"#/$defs/{name}"} for name in kinds],
        "$defs": definitions,
    }
    return schemas


def render_schema(schema: Mapping[str, Any]) -> str:
    """As it stands in ``schemas/``."""
    return json.dumps(schema, indent=2, sort_keys=True) + "\n"


def _file_name(kind: str) -> str:
    return f"{kind.lower()}.json"


def _header(file_name: str) -> dict[str, Any]:
    return {"$schema": _DIALECT, "$id": f"{BASE}/{file_name}"}


def _build_kind(kind: str) -> dict[str, Any]:
    made = load_model(kind).model_json_schema(by_alias=True, schema_generator=_Generator)
    schema: dict[str, Any] = _clean(made)
    return schema | {"title": kind}


class _Generator(GenerateJsonSchema):
    def function_plain_schema(self, schema: PlainValidatorFunctionSchema) -> dict[str, Any]:
        later = schema.get("metadata", {}).get(METADATA)
        if later is None:
            return super().function_plain_schema(schema)
        inner = self.generate_inner(later.load().__pydantic_core_schema__)
        found: dict[str, Any] = later.describe(inner)
        return found


def _clean(node: Any) -> Any:
    """Without nulls, which may not be written, and without the titles pydantic makes up."""
    if isinstance(node, list):
        return [_clean(item) for item in node]
    if not isinstance(node, dict):
        return node
    made = {key: _clean(item) for key, item in node.items() if not _is_title(key, item)}
    if "patternProperties" in made:
        made.setdefault("additionalProperties", False)
    if "default" in made and made["default"] is None:
        del made["default"]
    choices = [item for item in made.get("anyOf", ()) if item != {"type": "null"}]
    if len(choices) == 1:
        del made["anyOf"]
        made = choices[0] | made
    elif choices:
        made["anyOf"] = choices
    return made


def _is_title(key: str, item: Any) -> bool:
    """A field named ``title`` would map to a schema, not to a text."""
    return key == "title" and isinstance(item, str)
