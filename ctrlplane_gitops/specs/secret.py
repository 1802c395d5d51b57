"""``kind: Secret``: where a value comes from, never the value."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict, JsonValue

from ctrlplane_gitops.specs.field import EnvName, Path, Registry, Text
from ctrlplane_gitops.specs.model import Envelope, Model, OwnedMetadata, Spec, exactly_one
from ctrlplane_gitops.specs.problem import Problem

_TARGETS = {"env": "key", "file": "path", "registry": "registry", "tls": ""}
"""The field each type needs; the others have no meaning for it."""


class SecretSource(Model):
    """Exactly one of the fields."""

    model_config = ConfigDict(json_schema_extra=exactly_one("env", "file"))

    env: EnvName | None = Field(
        default=None, description="Variable of the environment the control plane runs in."
    )
    file: Text | None = Field(
        default=None, description="File below the control plane's folder of secrets."
    )


def find_source_problems(source: SecretSource, path: str, *field: str) -> Iterator[Problem]:
    """``path`` is where it stands, ``field`` the same below the spec."""
    given = [name for name in ("env", "file") if getattr(source, name) is not None]
    if len(given) != 1:
        state = "both" if given else "none"
        summary = f"{path} needs exactly one of env and file, and has {state}"
        yield Problem("wrong-choice", summary, field=field)


def _target_rules() -> JsonDict:
    """In the schema: each type needs its own field and takes no other."""
    others = {name for name in _TARGETS.values() if name}
    rules: list[JsonValue] = []
    for kind, needed in _TARGETS.items():
        then: JsonDict = {"properties": dict.fromkeys(sorted(others - {needed}), False)}
        if needed:
            then["required"] = [needed]
        rules.append({"if": {"properties": {"type": {"const": kind}}}, "then": then})
    return {"allOf": rules}


class SecretSpec(Spec):
    model_config = ConfigDict(json_schema_extra=_target_rules())

    type: Literal["env", "file", "registry", "tls"] = Field(
        description="How the value reaches a replica: as a variable, as a file, as the password "
        "of a registry, or as the certificate of a route."
    )
    key: EnvName | None = Field(default=None, description="Type env: the variable in the replica.")
    path: Path | None = Field(default=None, description="Type file: the path in the replica.")
    registry: Registry | None = Field(
        default=None, description="Type registry: host, or host:port."
    )
    source: SecretSource = Field(alias="from", description="Where the value comes from.")
    protect: bool = Field(default=False, description="Refuse to delete the secret.")

    def find_problems(self) -> Iterator[Problem]:
        needed = _TARGETS[self.type]
        for name in ("key", "path", "registry"):
            is_given = getattr(self, name) is not None
            if name == needed and not is_given:
                summary = f"spec.{name} is required for a secret of type {self.type}"
                yield Problem("missing-key", summary, field=(name,))
            elif name != needed and is_given:
                summary = f"spec.{name} has no meaning for a secret of type {self.type}"
                yield Problem("unused-key", summary, "remove it", (name,))
        yield from find_source_problems(self.source, "spec.from", "from")


class SecretDocument(Envelope):
    """A reference to a secret value, which itself never stands in Git."""

    kind: Literal["Secret"] = Field(description="A reference to a secret value.")
    metadata: OwnedMetadata = Field(description="Tenant, name, labels and annotations.")
    spec: SecretSpec = Field(description="Where the value comes from and where it goes.")
