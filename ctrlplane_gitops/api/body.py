"""Bodies of requests: what may be in them, and how they are read."""

from __future__ import annotations

from typing import Any

from flask import Request
from pydantic import BaseModel, ConfigDict, ValidationError

from ctrlplane_gitops.api.errors import Refusal
from ctrlplane_gitops.api.route import Route


class Body(BaseModel):
    """Unknown keys are errors, and no message carries an input."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


def parse_body(route: Route, request: Request) -> Any:
    """The body a route takes, None where it takes none. No body at all is one without any key.
    Refusal (400) for what is none."""
    if route.body is None:
        return None
    raw = request.get_data() if request.mimetype != _FORM else None
    try:
        if raw is None:
            return route.body.model_validate_strings(_form_of(request))
        return route.body.model_validate_json(raw or b"{}")
    except ValidationError as failure:
        raise Refusal(400, "bad-body", _explain(failure)) from None


_FORM = "application/x-www-form-urlencoded"


def _form_of(request: Request) -> dict[str, str]:
    """Forms of our pages bring what protects them along, and it is not theirs to say."""
    return {name: value for name, value in request.form.items() if name != "csrf"}


def _explain(failure: ValidationError) -> str:
    found = []
    for item in failure.errors(include_url=False, include_input=False, include_context=False)[:10]:
        place = ".".join(str(part) for part in item["loc"])
        found.append(f"{place}: {item['msg']}" if place else item["msg"])
    return "; ".join(found)
