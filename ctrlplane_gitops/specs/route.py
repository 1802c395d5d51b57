"""``kind: Route``: host and path to a port of an instance."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from ctrlplane_gitops.specs.field import Host, Name, ShortName, UrlPath
from ctrlplane_gitops.specs.model import Envelope, Model, OwnedMetadata, Spec
from ctrlplane_gitops.specs.problem import Problem
from ctrlplane_gitops.specs.rule import find_duplicates


class Tls(Model):
    certificate: Name = Field(
        default="auto",
        description="'auto', or the name of a secret of type tls of the same tenant.",
    )


class RouteSpec(Spec):
    instance: ShortName = Field(description="Instance of the same tenant that answers.")
    hosts: list[Host] = Field(
        min_length=1, max_length=1000, description="Host names the route answers to."
    )
    path: UrlPath = Field(default="/", description="Beginning of the paths the route answers to.")
    port: Name | None = Field(
        default=None, description="Name of a port of the instance; its first port where left out."
    )
    strip_prefix: bool = Field(
        default=False, description="Take the path off before the request is passed on."
    )
    tls: Tls | None = Field(default=None, description="Answer over TLS.")
    protect: bool = Field(default=False, description="Refuse to delete the route.")

    def find_problems(self) -> Iterator[Problem]:
        yield from find_duplicates(self.hosts, ("hosts",), "host")


class RouteDocument(Envelope):
    """Host and path to a port of an instance."""

    kind: Literal["Route"] = Field(description="Host and path to a port of an instance.")
    metadata: OwnedMetadata = Field(description="Tenant, name, labels and annotations.")
    spec: RouteSpec = Field(description="What is routed where.")
