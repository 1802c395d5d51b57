"""Certificates that are issued for routes: which are to be, and which are others than those that
were last shown."""

from __future__ import annotations

import json

from ctrlplane_gitops.plan.change import ABSENT, Change, ChangeAction, FieldChange
from ctrlplane_gitops.plan.classify import Look, Row, is_targeted, make_change
from ctrlplane_gitops.state.desired import IssuedCertificate
from ctrlplane_gitops.state.key import Kind, ResourceKey
from ctrlplane_gitops.state.recorded import RecordedResource
from ctrlplane_gitops.value import field, record, replace


@record
class Certificates:
    """``issues`` are to be issued, ``shown`` to be written down once the router shows them,
    ``gone`` to be forgotten."""

    changes: list[Change] = field(default_factory=list)
    issues: list[IssuedCertificate] = field(default_factory=list)
    shown: list[RecordedResource] = field(default_factory=list)
    gone: list[ResourceKey] = field(default_factory=list)


def route_of(certificate: ResourceKey) -> ResourceKey:
    """The route a certificate is issued for."""
    return ResourceKey(Kind.ROUTE, certificate.tenant, certificate.name)


def record_certificate(item: IssuedCertificate, commit: str) -> RecordedResource:
    """As it is written down: never what it consists of."""
    ends = None if item.not_after is None else f"{item.not_after:%Y-%m-%dT%H:%M:%SZ}"
    text = json.dumps({"hosts": list(item.hosts), "notAfter": ends}, separators=(",", ":"))
    return RecordedResource(item.key, item.digest, text, commit=commit)


def plan_certificates(look: Look, changes: list[Change]) -> Certificates:
    """``changes`` are the rows so far: a route that has one says it there."""
    found = Certificates()
    places = {item.key: place for place, item in enumerate(changes)}
    for key, item in () if look.is_lost else sorted(look.desired.certificates.items()):
        route = route_of(key)
        known = look.recorded.resources.get(key)
        is_same = bool(item.digest) and known is not None and known.fingerprint == item.digest
        if is_same or not is_targeted(look.policy.targets, route, key):
            continue
        if item.digest:
            found.shown.append(record_certificate(item, look.header.commit))
        else:
            found.issues.append(item)
        change = _field_of(item, known)
        if route in places:
            row = changes[places[route]]
            fields = tuple(sorted((*row.fields, change), key=lambda item: item.path))
            changes[places[route]] = replace(row, fields=fields)
        else:
            found.changes.append(_make_row(look, route, item, change))
    wanted = {} if look.policy.is_destroy else look.desired.certificates
    for key in look.recorded.resources:
        if key.kind is Kind.CERTIFICATE and key not in wanted and _is_over(look, key):
            found.gone.append(key)
    return found


def _field_of(item: IssuedCertificate, known: RecordedResource | None) -> FieldChange:
    before = ABSENT if known is None else f"until {known.attributes.get('notAfter')}"
    after = f"until {item.not_after:%Y-%m-%dT%H:%M:%SZ}" if item.digest and item.not_after else ""
    return FieldChange(("certificate",), before, after or "will be issued")


def _make_row(
    look: Look, route: ResourceKey, item: IssuedCertificate, change: FieldChange
) -> Change:
    row = Row(route, look.desired.resources.get(route), look.recorded.resources.get(route))
    reason = "its certificate is another one"
    if not item.digest:
        reason = f"its certificate is issued: {item.reason}"
    return make_change(row, ChangeAction.UPDATE, reason, extra=(change,))


def _is_over(look: Look, key: ResourceKey) -> bool:
    """Whether its route shows it no more, and Git has been looked at well enough to say so."""
    if look.policy.is_destroy:
        return True
    route = look.desired.resources.get(route_of(key))
    if route is not None:
        return (route.attributes.get("tls") or {}).get("certificate") != "auto"
    return key.tenant not in look.desired.frozen and route_of(key) not in look.recorded.resources
