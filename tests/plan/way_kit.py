"""Rows and routes by hand."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ctrlplane_gitops.diagnostics import Origin
from ctrlplane_gitops.state.desired import DesiredResource, DesiredRoute
from ctrlplane_gitops.state.key import Kind, ResourceKey


def digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def resource(key: ResourceKey, attributes: Mapping[str, Any], **more: Any) -> DesiredResource:
    origin = Origin(f"tenants/{key.tenant}.yaml", 31)
    text = json.dumps(attributes, sort_keys=True, separators=(",", ":"))
    return DesiredResource(key, text, digest(attributes), origin, **more)


@dataclass(frozen=True)
class Way:
    """A route of an app: ``shop.test`` of the tenant, by its first port."""

    name: str = "web"
    port: str = "http"
    path: str = "/"
    is_protected: bool = False
    note: str = ""
    certificate: str | None = None
    more: Mapping[str, Any] = field(default_factory=dict)

    def build(
        self, instance: ResourceKey, resources: dict[ResourceKey, DesiredResource]
    ) -> DesiredRoute:
        """The route; its row and that of its certificate are added."""
        key = ResourceKey(Kind.ROUTE, instance.tenant, self.name)
        host = f"{self.name}.{instance.tenant}.test"
        attributes: dict[str, Any] = {
            "instance": instance.name, "hosts": [host], "path": self.path, "port": self.port,
        }  # fmt: skip
        if self.note:
            attributes["labels"] = {"note": self.note}
        if self.more:
            attributes["more"] = str(self.more)
        secret = None
        if self.certificate is not None:
            secret = ResourceKey(Kind.SECRET, instance.tenant, "site")
            value = {"type": "tls", "valueDigest": digest(self.certificate)}
            resources[secret] = resource(secret, value)
            attributes["tls"] = {"certificate": "site"}
        resources[key] = resource(key, attributes, is_protected=self.is_protected)
        point = "web" if secret is None else "websecure"
        return DesiredRoute(
            key, (host,), self.path, self.port, point, certificate=secret, **self.more
        )
