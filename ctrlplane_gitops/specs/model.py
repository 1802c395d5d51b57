"""What the models of all kinds share: strictness, camelCase keys, the envelope."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from pydantic.config import JsonDict

from ctrlplane_gitops.specs.field import Name, ShortName
from ctrlplane_gitops.specs.problem import Problem

if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass
else:
    ModelMetaclass = type(BaseModel)

API_VERSION = "ctrlplane.dev/v1"
T = TypeVar("T")


_LOADER = "pydantic.plugin._loader"


@contextmanager
def _without_plugins() -> Iterator[None]:
    """Pydantic looks through every installed distribution for plugins: loading what reads their
    metadata, ``email`` and all, takes as long as building every model here. There is a variable
    that makes it find none, but not one that makes it not look. What specs mean does not depend
    on what else is installed."""
    if _LOADER in sys.modules:
        yield
        return
    stub: Any = ModuleType(_LOADER)
    stub.get_plugins = tuple
    sys.modules[_LOADER] = stub
    try:
        yield
    finally:
        del sys.modules[_LOADER]


class _Unplugged(ModelMetaclass):
    def __new__(cls, *parts: Any, **options: Any) -> Any:
        with _without_plugins():
            return super().__new__(cls, *parts, **options)


class Model(BaseModel, metaclass=_Unplugged):
    """Unknown keys are errors, ``"1"`` is not 1, and no message carries an input.

    A field whose default is None may be left out, but not be null: nulls are refused before.
    """

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        alias_generator=to_camel,
        hide_input_in_errors=True,
        protected_namespaces=(),
    )


def new(make: type[T]) -> Callable[[], T]:
    """For ``default_factory``: pydantic reads what its call takes, which is written in a function,
    and must be parsed from a text of a built-in (the tokenizer loaded for it), made of a model."""
    return lambda: make()


class Spec(Model):
    """The ``spec`` of a kind."""

    def find_problems(self) -> Iterator[Problem]:
        """What no single field can tell; fields are given below the spec."""
        return iter(())

    def normalise(self) -> dict[str, Any]:
        """Camel-case keys, JSON values, every default filled in, what is not given left out."""
        return self.model_dump(by_alias=True, exclude_none=True)


def exactly_one(*names: str) -> JsonDict:
    """For ``json_schema_extra``: one of the fields, and not two."""
    return {"oneOf": [{"required": [name]} for name in names]}


class Metadata(Model):
    name: Name = Field(description="Name of the resource: a DNS label.")
    labels: dict[str, str] = Field(
        default_factory=new(dict), description="Words to select by; the values are strings."
    )
    annotations: dict[str, str] = Field(
        default_factory=new(dict), description="Notes that nothing is selected by."
    )


class TenantMetadata(Metadata):
    name: ShortName = Field(description="Name of the tenant, unique in the control plane.")


class OwnedMetadata(Metadata):
    tenant: ShortName = Field(description="Name of the tenant that owns the resource.")


class InstanceMetadata(OwnedMetadata):
    name: ShortName = Field(description="Name of the instance, unique in its tenant.")


class Envelope(Model):
    """A whole document; each kind narrows ``kind``, ``metadata`` and ``spec``."""

    api_version: Literal["ctrlplane.dev/v1"] = Field(description="Version of the format.")
