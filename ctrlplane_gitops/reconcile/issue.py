"""Issuing what a plan says has to be issued, and what follows from that for the apply."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from ctrlplane_gitops.errors import CertificateError
from ctrlplane_gitops.events.event import EventType
from ctrlplane_gitops.execute.batch import Alert
from ctrlplane_gitops.plan.certificate import record_certificate, route_of
from ctrlplane_gitops.plan.change import Plan
from ctrlplane_gitops.redact import SecretValue
from ctrlplane_gitops.state.desired import DesiredState, IssuedCertificate
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.recorded import RecordedState
from ctrlplane_gitops.value import field, record, replace

if TYPE_CHECKING:
    from ctrlplane_gitops.certificates.desk import CertificateDesk


@record
class Issuance:
    """What came of issuing: what is new, by its key, with the values, and why not."""

    issued: dict[ResourceKey, IssuedCertificate] = field(default_factory=dict)
    values: dict[ResourceKey, SecretValue] = field(default_factory=dict)
    errors: dict[ResourceKey, CertificateError] = field(default_factory=dict)


def issue_all(issues: Iterable[IssuedCertificate], desk: CertificateDesk) -> Issuance:
    """One that cannot be issued holds up no other."""
    found = Issuance()
    for item in issues:
        try:
            issued = desk.issue(item.key, item.hosts)
            found.values[item.key] = desk.value_of(item.key)
            found.issued[item.key] = issued
        except CertificateError as caught:
            found.errors[item.key] = caught
    return found


def add_issued(plan: Plan, made: Issuance) -> Plan:
    """The plan with what was issued to be written down once the router shows it."""
    commit = plan.header.commit
    rows = [record_certificate(item, commit) for _, item in sorted(made.issued.items())]
    return replace(plan, certificates=(*plan.certificates, *rows), issues=())


def tell_issued(made: Issuance, recorded: RecordedState) -> tuple[Alert, ...]:
    """Type, route and end of what was really made: one that somebody else made was told of."""
    return tuple(
        Alert(
            EventType.CERTIFICATE_RENEWED
            if key in recorded.resources
            else EventType.CERTIFICATE_ISSUED,
            route_of(key).address,
            f"for {', '.join(item.hosts[:3])}{' ...' if len(item.hosts) > 3 else ''}, "
            f"until {item.not_after:%Y-%m-%d}",
        )
        for key, item in sorted(made.issued.items())
        if item.is_new
    )


def concerned(
    errors: Mapping[ResourceKey, CertificateError], desired: DesiredState
) -> dict[ResourceKey, CertificateError]:
    """The instances whose routes go without a certificate."""
    if not errors:
        return {}
    return {
        item.key: errors[route.certificate]
        for item in desired.instances.values()
        for route in item.routes
        if route.certificate is not None and route.certificate in errors
    }
