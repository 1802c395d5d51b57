"""Certificates that are issued for routes, looked at together with the specs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, TypeAlias

from ctrlplane_gitops.diagnostics import Diagnostic, error, warning
from ctrlplane_gitops.specs.document import Document
from ctrlplane_gitops.state.desired import (
    ControlPlane,
    DesiredState,
    IssuedCertificate,
)
from ctrlplane_gitops.state.key import Kind, ResourceKey

if TYPE_CHECKING:
    from ctrlplane_gitops.certificates.desk import CertificateDesk, Looked
    from ctrlplane_gitops.reconcile.gather import Wanted

# Gives the desk of a control plane; made only where a route asks for a certificate.
Certify: TypeAlias = "Callable[[ControlPlane], CertificateDesk]"
_AUTO = "auto"
# What is said while what runs out cannot be issued anew.
NOT_RENEWED = "certificate-not-renewed"


def hosts_of(documents: Iterable[Document]) -> Mapping[ResourceKey, tuple[str, ...]]:
    """The names that certificates are to be issued for, sorted, by the certificate's key."""
    return {
        ResourceKey(Kind.CERTIFICATE, item.tenant, item.name): tuple(
            sorted({*item.spec["hosts"], *item.spec["previewHosts"]})
        )
        for item in documents
        if item.kind is Kind.ROUTE and (item.spec.get("tls") or {}).get("certificate") == _AUTO
    }


def look_at_certificates(wanted: Wanted, certify: Certify | None) -> Looked | None:
    """None where there is nothing to look at, or nobody to serve it."""
    plane = wanted.plane
    if certify is None or plane is None or plane.router is None:
        return None
    hosts = hosts_of(wanted.documents)
    return certify(plane).look(hosts) if hosts else None


def explain_unready(wanted: Wanted, looked: Looked | None) -> list[Diagnostic]:
    """An error for each route that cannot be served, which freezes its tenant alone; where all
    can, one warning that nothing is issued."""
    if looked is None or looked.error is None:
        return []
    cause = looked.error
    if not looked.unready:
        text = f"certificates are not renewed: {cause.message}"
        return [warning(NOT_RENEWED, text, hint=cause.hint or "")]
    routes = {item.key: item for item in wanted.documents if item.kind is Kind.ROUTE}
    found = []
    for key in looked.unready:
        document = routes[ResourceKey(Kind.ROUTE, key.tenant, key.name)]
        found.append(
            error(
                "unissued-certificate",
                f"no certificate can be issued for {document.key}: {cause.message}",
                origin=document.origin,
                hint=cause.hint or "",
                address=document.key.address,
                tenant=document.tenant,
                field=("spec", "tls", "certificate"),
            )
        )
    return found


def of_served(looked: Looked, desired: DesiredState) -> dict[ResourceKey, IssuedCertificate]:
    """What there is of those that routes of sound tenants show."""
    routes = (route for item in desired.instances.values() for route in item.routes)
    shown = {route.certificate for route in routes}
    return {key: item for key, item in looked.found.items() if key in shown}
