"""``spec.access`` of the control plane: who may come in over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field

from ctrlplane_gitops.specs.field import Moment, Name, Sha256, ShortName
from ctrlplane_gitops.specs.model import Model
from ctrlplane_gitops.specs.problem import Problem
from ctrlplane_gitops.specs.rule import find_duplicates


class TokenSpec(Model):
    name: Name = Field(description="Whom the audit names: token:<name>.")
    sha256: Sha256 = Field(
        description="SHA-256 of the token in hex, as the verb 'token' prints it; never the token."
    )
    role: Literal["viewer", "operator", "admin"] = Field(
        default="viewer", description="What it may do."
    )
    tenants: list[ShortName] | None = Field(
        default=None,
        min_length=1,
        description="The only tenants it can see; all of them if left out.",
    )
    expires: Moment | None = Field(default=None, description="When it stops being taken.")


class AccessSpec(Model):
    tokens: list[TokenSpec] = Field(
        default_factory=list, max_length=1000, description="Bearer tokens, by their digests."
    )

    def find_problems(self) -> Iterator[Problem]:
        where = ("access", "tokens")
        values: Any = [item.name for item in self.tokens]
        yield from find_duplicates(values, where, "name", "name")
        values = [item.sha256 for item in self.tokens]
        yield from find_duplicates(values, where, "digest", "sha256")
