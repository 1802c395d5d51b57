"""Models of what most documents do not have: loaded for the first document that has it.

Building a model takes half a millisecond to one and a half, and a plan in CI builds them all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

METADATA = "ctrlplane_later"
"""Where the core schema keeps it, for who makes a JSON Schema of it."""


class Later:
    """In ``Annotated[Any, Later(load)]``: valid is what the model that ``load`` imports takes, and
    what is said where it is not is the same."""

    def __init__(self, load: Callable[[], type[BaseModel]]) -> None:
        self.load = load

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self._validate, metadata={METADATA: self}
        )

    def describe(self, inner: dict[str, Any]) -> dict[str, Any]:
        """The JSON Schema, from that of the model."""
        return inner

    def _validate(self, value: Any) -> Any:
        # Pydantic takes the problems over, each at its place below this one.
        return self.load().model_validate(value)


class NumberOr(Later):
    """A whole number from 0 to ``most``, or what the model takes."""

    def __init__(self, most: int, load: Callable[[], type[BaseModel]]) -> None:
        super().__init__(load)
        self._most = most

    def describe(self, inner: dict[str, Any]) -> dict[str, Any]:
        number = {"type": "integer", "minimum": 0, "maximum": self._most}
        return {"anyOf": [number, inner]}

    def _validate(self, value: Any) -> Any:
        if isinstance(value, dict):
            return super()._validate(value)
        if isinstance(value, bool) or not isinstance(value, int):
            expected = "a whole number or a mapping"
            raise PydanticCustomError("wrong_type", "type", {"expected": expected})
        if not 0 <= value <= self._most:
            rule = "must be at least 0" if value < 0 else f"must be at most {self._most}"
            raise PydanticCustomError("rule", "rule", {"rule": rule, "hint": ""})
        return value
