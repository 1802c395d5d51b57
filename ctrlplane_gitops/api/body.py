"""Bodies of requests: what may be in them, and how they are read."""

from __future__ import annotations

from typing import Annotated, Any

from flask import Request
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
)

from ctrlplane_gitops.api.errors import Refusal
from ctrlplane_gitops.api.route import Route

FORM = "application/x-www-form-urlencoded"


def _check_number(value: Any, info: ValidationInfo) -> Any:
    """JSON has one kind of number, so 3.0 is a whole one; what is none is not made one."""
    if info.mode == "json" and (isinstance(value, bool) or not isinstance(value, (int, float))):
        raise ValueError("is not a number")
    return value


Ordinal = Annotated[int, Field(ge=1, le=2**31, strict=False), BeforeValidator(_check_number)]
Index = Annotated[int, Field(ge=0, le=2**31, strict=False), BeforeValidator(_check_number)]


class Body(BaseModel):
    """Unknown keys are errors, and no message carries an input."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


def parse_body(route: Route, request: Request) -> Any:
    """The body a route takes, None where it takes none. No body at all is one without any key.
    Refusal (400) for what is none."""
    if route.body is None:
        return None
    raw = request.get_data() if request.mimetype != FORM else None
    try:
        if raw is None:
            return route.body.model_validate_strings(_form_of(request))
        return route.body.model_validate_json(raw or b"{}")
    except ValidationError as failure:
        raise Refusal(400, "bad-body", _explain(failure)) from None


def _form_of(request: Request) -> dict[str, str]:
    """Forms of our pages bring what protects them along, and it is not theirs to say."""
    return {name: value for name, value in request.form.items() if name != "csrf"}


def _explain(failure: ValidationError) -> str:
    found = []
    for item in failure.errors(include_url=False, include_input=False, include_context=False)[:10]:
        place = ".".join(str(part) for part in item["loc"])
        found.append(f"{place}: {item['msg']}" if place else item["msg"])
    return "; ".join(found)
