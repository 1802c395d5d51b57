"""``kind: ControlPlane``: where things run; never a credential in clear."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import ConfigDict, Field

from ctrlplane_gitops.specs.credential import find_credentials
from ctrlplane_gitops.specs.field import DriftMode, Name, Percent, PositiveDuration, Text
from ctrlplane_gitops.specs.model import Envelope, Metadata, Model, Spec
from ctrlplane_gitops.specs.problem import Problem
from ctrlplane_gitops.specs.secret import SecretSource, find_source_problems
from ctrlplane_gitops.units import parse_duration

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


class RetentionSpec(Model):
    """How long the store keeps what happened; ``serve`` removes what is older."""

    events: PositiveDuration = Field(default="30d", description="Events.")
    audit: PositiveDuration = Field(default="365d", description="Who did what.")
    intents: PositiveDuration = Field(default="7d", description="Actions that have ended.")
    deliveries: PositiveDuration = Field(default="30d", description="Webhooks in and out.")
    health: PositiveDuration = Field(default="30d", description="Results of health checks.")


class CertificatesSpec(Model):
    """Who issues the certificates of routes with ``tls: {certificate: auto}``."""

    issuer: Literal["ca"] = Field(
        default="ca", description="'ca' is an authority of the control plane's own."
    )
    source: SecretSource | None = Field(
        default=None,
        alias="from",
        description="Where the authority's certificate and key are, in one PEM; made on this "
        "machine where left out.",
    )
    duration: PositiveDuration = Field(default="90d", description="How long a certificate lives.")
    renew_before: PositiveDuration = Field(
        default="30d", description="Renew a certificate that has less than this left."
    )


class ControlPlaneSpec(Spec):
    providers: dict[Name, ProviderSpec] = Field(
        default_factory=dict,
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
    prune: PruneSpec = Field(default_factory=PruneSpec, description="Guards of deleting.")
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
        default_factory=list, description="Globs of files that are not specs: charts/**."
    )

    def find_problems(self) -> Iterator[Problem]:
        for alias, provider in self.providers.items():
            yield from find_credentials(provider.model_extra, ("providers", alias))
        if self.router is not None:
            yield from find_credentials(self.router.model_extra, ("router",))
        yield from find_credentials(self.store, ("store",))
        if self.certificates is not None:
            yield from _find_in_certificates(self.certificates)
        if len(self.providers) > 1 and self.default_provider is None:
            summary = "spec.defaultProvider is required where there is more than one provider"
            hint = "name one of: " + ", ".join(sorted(self.providers)[:12])
            yield Problem("missing-key", summary, hint, ("defaultProvider",))

    def normalise(self) -> dict[str, Any]:
        spec = super().normalise()
        spec["providers"] = spec["providers"] or {_LOCAL: {"type": "process"}}
        if len(spec["providers"]) == 1:
            spec.setdefault("defaultProvider", next(iter(spec["providers"])))
        return spec


def _find_in_certificates(spec: CertificatesSpec) -> Iterator[Problem]:
    if spec.source is not None:
        yield from find_source_problems(
            spec.source, "spec.certificates.from", "certificates", "from"
        )
    if parse_duration(spec.renew_before) >= parse_duration(spec.duration):
        yield Problem(
            "wrong-order",
            f"spec.certificates.renewBefore ({spec.renew_before}) is not less than duration"
            f" ({spec.duration})",
            "a certificate must live longer than it is being renewed",
            ("certificates", "renewBefore"),
        )


class ControlPlaneDocument(Envelope):
    """One per repository, in ctrlplane.yaml at its root: where things run."""

    kind: Literal["ControlPlane"] = Field(description="Where things run.")
    metadata: Metadata = Field(description="Name, labels and annotations.")
    spec: ControlPlaneSpec = Field(
        default_factory=ControlPlaneSpec, description="Providers, router and guards."
    )
