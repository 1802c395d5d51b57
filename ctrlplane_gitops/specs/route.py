"""``kind: Route``: host and path to a port of an instance."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from ctrlplane_gitops.specs.field import HeaderName, HeaderValue, Host, Name, RoutePath, ShortName
from ctrlplane_gitops.specs.model import Envelope, Model, OwnedMetadata, Spec, new
from ctrlplane_gitops.specs.problem import Problem
from ctrlplane_gitops.specs.rule import find_duplicates


class Tls(Model):
    certificate: Name = Field(
        default="auto",
        description="'auto', or the name of a secret of type tls of the same tenant.",
    )


class CanaryHeader(Model):
    name: HeaderName = Field(description="The header's name.")
    value: HeaderValue = Field(description="The value it must have.")


class RouteSpec(Spec):
    instance: ShortName = Field(description="Instance of the same tenant that answers.")
    hosts: list[Host] = Field(
        min_length=1, max_length=1000, description="Host names the route answers to."
    )
    path: RoutePath = Field(default="/", description="Beginning of the paths the route answers to.")
    port: Name | None = Field(
        default=None, description="Name of a port of the instance; its first port where left out."
    )
    entry_point: Name | None = Field(
        default=None,
        description="Entry point of the router; 'web', or with tls 'websecure', where left out.",
    )
    strip_prefix: bool = Field(
        default=False, description="Take the path off before the request is passed on."
    )
    sticky: bool = Field(
        default=False, description="Keep a client, by a cookie, with the replica it met first."
    )
    canary_header: CanaryHeader | None = Field(
        default=None,
        description="Requests with this header go to the release that is being rolled out.",
    )
    preview_hosts: list[Host] = Field(
        default_factory=new(list),
        max_length=100,
        description="Host names at which the release that is being rolled out answers.",
    )
    tls: Tls | None = Field(default=None, description="Answer over TLS.")
    protect: bool = Field(default=False, description="Refuse to delete the route.")

    def find_problems(self) -> Iterator[Problem]:
        yield from find_duplicates(self.hosts, ("hosts",), "host")
        yield from find_duplicates(self.preview_hosts, ("previewHosts",), "host")
        for place, host in enumerate(self.preview_hosts):
            if host in self.hosts:
                yield Problem(
                    "duplicate",
                    f"spec.previewHosts[{place}] is also one of spec.hosts",
                    "give the preview a host name of its own",
                    ("previewHosts", place),
                )


class RouteDocument(Envelope):
    """Host and path to a port of an instance."""

    kind: Literal["Route"] = Field(description="Host and path to a port of an instance.")
    metadata: OwnedMetadata = Field(description="Tenant, name, labels and annotations.")
    spec: RouteSpec = Field(description="What is routed where.")
