"""The description of the API (OpenAPI 3.1), made of the route table. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ctrlplane_gitops import __version__
from ctrlplane_gitops.api.route import Parameter, Reach, Route
from ctrlplane_gitops.api.schema import schema_of
from ctrlplane_gitops.auth.roles import LEAST_ROLE

PROBLEM_TYPE = "application/problem+json"
_PLACE = re.compile(r"<(?:(\w+):)?(\w+)>")
_PROBLEM = {
    "type": "object",
    "description": "RFC 9457. 'code' is stable.",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
    },
    "required": ["type", "title", "status", "detail", "code"],
    "additionalProperties": False,
}
_NAME = {"type": "string", "minLength": 1, "maxLength": 63}


def build_openapi(routes: Iterable[Route]) -> dict[str, Any]:
    """Every route that is not a page, by path and method."""
    schemas: dict[str, Any] = {"Problem": _PROBLEM}
    paths: dict[str, dict[str, Any]] = {}
    for route in sorted(routes, key=lambda item: (item.path, item.method)):
        if not route.is_page:
            operations = paths.setdefault(path_of(route), {})
            operations[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "ctrlplane-gitops",
            "version": __version__,
            "description": "Makes what runs equal to what Git says. Git is where things are "
            "changed; here they are seen, and rollouts steered.",
        },
        "security": [{"token": []}, {}],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.items())),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "responses": {
                "Problem": {
                    "description": "What was asked is not to be had; 'code' says why.",
                    "content": {PROBLEM_TYPE: {"schema": _refer("Problem")}},
                }
            },
        },
    }


def path_of(route: Route) -> str:
    """The path as OpenAPI writes it: ``/api/v1/tenants/{tenant}``."""
    return _PLACE.sub(r"{\2}", route.path)


def _operation(route: Route, schemas: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "operationId": re.sub(r"\W+", "-", route.name).strip("-"),
        "summary": route.summary,
        "parameters": [*_places(route), *map(_parameter, route.query)],
        "responses": {
            str(route.status): _answer(route, schemas),
            "4XX": {"$ref": "#/components/responses/Problem"},
            "5XX": {"$ref": "#/components/responses/Problem"},
        },
    }
    if route.permission is not None:
        least = LEAST_ROLE[route.permission].value
        found["description"] = f"Takes the permission {route.permission.value!r} (role {least})."
    if route.reach in (Reach.OPEN, Reach.SIGNED):
        found["security"] = []
    if route.body is not None:
        found["requestBody"] = {
            "content": {"application/json": {"schema": _body(route, schemas)}},
            "required": any(item.is_required() for item in route.body.model_fields.values()),
        }
    return found


def _places(route: Route) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "integer", "minimum": 0} if kind == "int" else _NAME,
        }
        for kind, name in _PLACE.findall(route.path)
    ]


def _parameter(item: Parameter) -> dict[str, Any]:
    return {
        "name": item.name,
        "in": "query",
        "description": item.help,
        "schema": dict(item.schema),
    }


def _answer(route: Route, schemas: dict[str, Any]) -> dict[str, Any]:
    if route.status == 204:
        return {"description": "Done."}
    if route.shows is None:
        return {"description": route.summary, "content": {route.media: {}}}
    schema = schema_of(route.shows, schemas)
    if route.is_list:
        schema = {
            "type": "object",
            "properties": {
                "items": {"type": "array", "items": schema},
                "next": {"type": ["string", "null"]},
            },
            "required": ["items", "next"],
            "additionalProperties": False,
        }
    return {"description": route.summary, "content": {route.media: {"schema": schema}}}


def _body(route: Route, schemas: dict[str, Any]) -> dict[str, Any]:
    made = route.body.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(made.pop("$defs", {}))
    schemas[route.body.__name__] = _without_titles(made)
    return _refer(route.body.__name__)


def _without_titles(node: Any) -> Any:
    """pydantic makes titles up."""
    if isinstance(node, list):
        return [_without_titles(item) for item in node]
    if not isinstance(node, Mapping):
        return node
    return {
        key: _without_titles(item)
        for key, item in node.items()
        if not (key == "title" and isinstance(item, str))
    }


def _refer(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}
