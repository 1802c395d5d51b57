"""``spec.certificates`` of a ControlPlane."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from ctrlplane_gitops.specs.field import PositiveDuration
from ctrlplane_gitops.specs.model import Model
from ctrlplane_gitops.specs.problem import Problem
from ctrlplane_gitops.specs.secret import SecretSource, find_source_problems
from ctrlplane_gitops.units import parse_duration


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

    def find_problems(self) -> Iterator[Problem]:
        if self.source is not None:
            yield from find_source_problems(
                self.source, "spec.certificates.from", "certificates", "from"
            )
        if parse_duration(self.renew_before) >= parse_duration(self.duration):
            yield Problem(
                "wrong-order",
                f"spec.certificates.renewBefore ({self.renew_before}) is not less than duration"
                f" ({self.duration})",
                "a certificate must live longer than it is being renewed",
                ("certificates", "renewBefore"),
            )
