"""One row per path: who may ask, what for, and who answers. The application is built from these
rows, the OpenAPI document is made of them, and the tests go through them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

from flask import g, request

from ctrlplane_gitops.auth.roles import Permission
from ctrlplane_gitops.auth.tokens import Principal
from ctrlplane_gitops.value import field, struct


class Reach(StrEnum):
    """What a path is about. ``tenant``: the tenant in the path, so it is 404 to whoever may not see
    it. ``list``: rows of many tenants, narrowed to those that may be seen. ``plane``: the control
    plane as a whole, so a token of some tenants is refused. ``any``: nobody in particular.
    ``open``: the same, and nobody has to say who they are. ``signed``: what other programs send,
    each signed; no browser does."""

    TENANT = "tenant"
    LIST = "list"
    PLANE = "plane"
    ANY = "any"
    OPEN = "open"
    SIGNED = "signed"


@struct
class Parameter:
    """A parameter of the query. ``parse`` makes its value of the text; ValueError, with the rest of
    a sentence about it, for what is none. ``schema`` is its JSON Schema."""

    name: str
    help: str
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})
    parse: Callable[[str], Any] = str


@struct
class Call:
    """A request that may be answered. ``path`` are the names in the path, ``query`` every parameter
    that was given by its name, ``body`` the validated body (None where none is taken)."""

    who: Principal
    path: Mapping[str, Any] = field(default_factory=dict)
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Any = None

    def get(self, name: str, default: Any = "") -> Any:
        return self.query.get(name, default)


@struct
class Route:
    """``path`` is Flask's; ``<tenant>`` in it is whose it is. ``answer`` makes of a call a value of
    ours, JSON values or a Response; None is 404. ``shows`` is the type of the value, ``is_list``:
    of the rows of a page. ``status`` is what success is. ``body`` is a pydantic model. ``is_page``:
    for people, who are led to the login instead of being refused, and no part of the API's
    description."""

    method: str
    path: str
    permission: Permission | None
    reach: Reach
    summary: str
    answer: Callable[[Call], Any]
    query: tuple[Parameter, ...] = ()
    shows: Any = None
    is_list: bool = False
    status: int = 200
    body: Any = None
    media: str = "application/json"
    is_page: bool = False

    @property
    def name(self) -> str:
        """Unique among the routes: ``get /api/v1/workers``."""
        return f"{self.method.lower()} {self.path}"


def root_path() -> str:
    """What stands before every path of ours in the address of the request being answered: where
    the application is mounted, and we in it."""
    return f"{request.script_root}{g.get('ctrlplane_prefix', '')}"
