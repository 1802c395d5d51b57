"""``kind: Tenant``: a customer, the owner of everything below it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ctrlplane_gitops.specs.field import Count, CpuQuota, DriftMode, SizeQuota
from ctrlplane_gitops.specs.model import Envelope, Model, Spec, TenantMetadata, new


class Quota(Model):
    """What a tenant may have at most; what is left out is not limited."""

    instances: Count | None = Field(default=None, description="Number of instances.")
    cpu: CpuQuota | None = Field(
        default=None, description="Sum of the cpu of all replicas: 500m, 16."
    )
    memory: SizeQuota | None = Field(
        default=None, description="Sum of the memory of all replicas: 32Gi."
    )
    disk: SizeQuota | None = Field(
        default=None, description="Sum of the sizes of all volumes: 100Gi."
    )
    domains: Count | None = Field(default=None, description="Number of hosts in all routes.")
    secrets: Count | None = Field(default=None, description="Number of secrets.")


class TenantSpec(Spec):
    display_name: str = Field(default="", max_length=256, description="Name for people.")
    quota: Quota = Field(
        default_factory=new(Quota), description="What the tenant may have at most."
    )
    suspended: bool = Field(
        default=False,
        description="Stop all instances and create nothing new; everything stays readable.",
    )
    drift: DriftMode | None = Field(
        default=None,
        description="Correct drift or report it; the control plane's if left out.",
    )
    protect: bool = Field(default=False, description="Refuse to delete the tenant.")


class TenantDocument(Envelope):
    """A customer: the owner of instances, deployments, routes and secrets."""

    kind: Literal["Tenant"] = Field(description="A customer.")
    metadata: TenantMetadata = Field(description="Name, labels and annotations.")
    spec: TenantSpec = Field(default_factory=new(TenantSpec), description="Quota and state.")
