"""``kind: Deployment``: what an instance runs, and how it gets there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import ConfigDict, Field

from ctrlplane_gitops.specs.field import Command, Env, Image, ShortName
from ctrlplane_gitops.specs.model import Envelope, OwnedMetadata, Spec, new
from ctrlplane_gitops.specs.problem import Problem
from ctrlplane_gitops.specs.strategy import StrategySpec


class DeploymentSpec(Spec):
    model_config = ConfigDict(
        json_schema_extra={"anyOf": [{"required": ["image"]}, {"required": ["command"]}]}
    )

    instance: ShortName = Field(description="Instance of the same tenant that runs this.")
    image: Image | None = Field(default=None, description="Container image, with tag or digest.")
    command: Command = Field(
        default_factory=new(list),
        description="Words of the command; one string is split as a shell would, without a shell.",
    )
    env: Env = Field(
        default_factory=new(dict), description="Environment; wins over the instance's environment."
    )
    strategy: StrategySpec = Field(
        default_factory=new(StrategySpec), description="How to get from one release to the next."
    )
    protect: bool = Field(default=False, description="Refuse to delete the deployment.")

    def find_problems(self) -> Iterator[Problem]:
        if self.image is None and not self.command:
            hint = "docker needs an image, process needs a command"
            yield Problem("missing-key", "spec needs an image or a command", hint, ())
        yield from self.strategy.find_problems()

    def normalise(self) -> dict[str, Any]:
        spec = super().normalise()
        self.strategy.add_block(spec["strategy"])
        return spec


class DeploymentDocument(Envelope):
    """What an instance runs, and how it gets there."""

    kind: Literal["Deployment"] = Field(description="What an instance runs.")
    metadata: OwnedMetadata = Field(description="Tenant, name, labels and annotations.")
    spec: DeploymentSpec = Field(description="Image or command, environment and strategy.")
