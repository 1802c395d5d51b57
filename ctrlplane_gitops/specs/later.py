"""Models of what most documents do not have: loaded for the first document that has it.

Building a model takes half a millisecond to one and a half, and a plan in CI builds them all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel
from pydantic_core import CoreSchema, core_schema

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

    def _validate(self, value: Any) -> BaseModel:
        # Pydantic takes the problems over, each at its place below this one.
        return self.load().model_validate(value)
