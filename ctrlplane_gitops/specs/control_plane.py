"""``kind: ControlPlane``: where things run; never a credential in clear."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import ConfigDict, Field

from ctrlplane_gitops.specs.access import AccessSpec
from ctrlplane_gitops.specs.credential import find_credentials
from ctrlplane_gitops.specs.field import DriftMode, Name, Percent, Text
from ctrlplane_gitops.specs.later import Later
from ctrlplane_gitops.specs.model import Envelope, Metadata, Model, Spec, new
from ctrlplane_gitops.specs.problem import Problem

_LOCAL = "local"


class ProviderSpec(Model):
    """``type`` and the options of that type, as written."""

    model_config = ConfigDict(extra="allow")

    type: Name = Field(description="process, docker, kubernetes, aws or memory.")


class RouterSpec(Model):
    """``type`` and the options of that type, as written."""

    model_config = ConfigDict(extra="allow")

    type: Name = Field(description="traefik, haproxy or memory.")


class PruneSpec(Model):
    max_delete: Percent = Field(
        default="20%", description="Most that one apply may delete of what is recorded."
    )
    volumes: bool = Field(default=False, description="Delete volumes as well.")


def _load_retention() -> type[RetentionSpec]:
    from ctrlplane_gitops.specs.retention import RetentionSpec

    return RetentionSpec


def _load_certificates() -> type[CertificatesSpec]:
    from ctrlplane_gitops.specs.certificates import CertificatesSpec

    return CertificatesSpec


def _load_notification() -> type[NotificationSpec]:
    from ctrlplane_gitops.specs.notification import NotificationSpec

    return NotificationSpec


if TYPE_CHECKING:
    from ctrlplane_gitops.specs.certificates import CertificatesSpec
    from ctrlplane_gitops.specs.notification import NotificationSpec
    from ctrlplane_gitops.specs.retention import RetentionSpec
else:
    RetentionSpec = Annotated[Any, Later(_load_retention)]
    CertificatesSpec = Annotated[Any, Later(_load_certificates)]
    NotificationSpec = Annotated[Any, Later(_load_notification)]


class ControlPlaneSpec(Spec):
    providers: dict[Name, ProviderSpec] = Field(
        default_factory=new(dict),
        description="Where instances can run, by alias; processes on this machine if left out.",
    )
    default_provider: Name | None = Field(
        default=None, description="Alias for instances that name none; the only one if left out."
    )
    router: RouterSpec | None = Field(
        default=None,
        description="What sends requests to replicas; routes are not served if left out.",
    )
    drift: DriftMode | None = Field(
        default=None,
        description="Correct drift (enforce, the default) or report it (observe).",
    )
    prune: PruneSpec = Field(default_factory=new(PruneSpec), description="Guards of deleting.")
    retention: RetentionSpec | None = Field(
        default=None, description="How long what happened is kept."
    )
    certificates: CertificatesSpec | None = Field(
        default=None, description="How certificates that are not secrets are issued."
    )
    store: Text | None = Field(
        default=None, description="Path or URL of the store of what was done."
    )
    ignore: list[Text] = Field(
        default_factory=new(list), description="Globs of files that are not specs: charts/**."
    )

    access: AccessSpec | None = Field(
        default=None, description="Who may use the API and the pages of serve."
    )

    notifications: list[NotificationSpec] = Field(
        default_factory=new(list),
        max_length=20,
        description="Who is told of what happens, by signed webhooks.",
    )

    def find_problems(self) -> Iterator[Problem]:
        if self.access is not None:
            yield from self.access.find_problems()
        for alias, provider in self.providers.items():
            yield from find_credentials(provider.model_extra, ("providers", alias))
        if self.router is not None:
            yield from find_credentials(self.router.model_extra, ("router",))
        yield from find_credentials(self.store, ("store",))
        if self.certificates is not None:
            yield from self.certificates.find_problems()
        if self.notifications:
            from ctrlplane_gitops.specs.notification import find_notification_problems

            yield from find_notification_problems(self.notifications)
        if len(self.providers) > 1 and self.default_provider is None:
            summary = "spec.defaultProvider is required where there is more than one provider"
            hint = "name one of: " + ", ".join(sorted(self.providers)[:12])
            yield Problem("missing-key", summary, hint, ("defaultProvider",))

    def normalise(self) -> dict[str, Any]:
        spec = super().normalise()
        if not spec["notifications"]:
            del spec["notifications"]
        spec["providers"] = spec["providers"] or {_LOCAL: {"type": "process"}}
        if len(spec["providers"]) == 1:
            spec.setdefault("defaultProvider", next(iter(spec["providers"])))
        return spec


class ControlPlaneDocument(Envelope):
    """One per repository, in ctrlplane.yaml at its root: where things run."""

    kind: Literal["ControlPlane"] = Field(description="Where things run.")
    metadata: Metadata = Field(description="Name, labels and annotations.")
    spec: ControlPlaneSpec = Field(
        default_factory=new(ControlPlaneSpec), description="Providers, router and guards."
    )
