"""The worker that renews certificates in time, and says of the others that they near their end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from ctrlplane_gitops.certificates.validity import find_ends
from ctrlplane_gitops.clock import Clock
from ctrlplane_gitops.errors import CertificateError, CtrlplaneError
from ctrlplane_gitops.events.event import EventType, make_event
from ctrlplane_gitops.plan.certificate import route_of
from ctrlplane_gitops.redact import SecretValue
from ctrlplane_gitops.state.desired import ControlPlane, DesiredState, IssuedCertificate
from ctrlplane_gitops.state.key import Kind, ResourceKey
from ctrlplane_gitops.state.log import EventFilter, LogFilter, Page
from ctrlplane_gitops.state.recorded import Event
from ctrlplane_gitops.store.base import Store
from ctrlplane_gitops.units import format_duration
from ctrlplane_gitops.value import struct
from ctrlplane_gitops.workers.worker import Ran

if TYPE_CHECKING:
    from ctrlplane_gitops.certificates.desk import CertificateDesk

NAME = "cert-renewer"
_SOON = timedelta(seconds=5)
# Of what nobody here can renew: said once when less than each is left, and once it is over.
_THRESHOLDS = tuple(timedelta(days=days) for days in (0, 1, 7, 14, 30))


@struct
class Ending:
    """A certificate that nears its end, by the address of the secret or route that has it."""

    address: str
    not_after: datetime
    why: str = ""


class CertRenewer:
    """``read_desired`` is what the last pass went by (None before the first), ``read_secrets`` the
    values of secrets at this moment; ``open_desk`` and ``open_store`` are for this worker alone.
    What it renews is shown by the next pass over everything. ``run`` is for one thread."""

    def __init__(
        self,
        read_desired: Callable[[], DesiredState | None],
        read_secrets: Callable[[], Mapping[ResourceKey, SecretValue]],
        open_desk: Callable[[ControlPlane], CertificateDesk],
        open_store: Callable[[ControlPlane], Store],
        clock: Clock,
    ) -> None:
        self._read_desired = read_desired
        self._read_secrets = read_secrets
        self._open_desk = open_desk
        self._open_store = open_store
        self._clock = clock
        self._ends: Mapping[ResourceKey, datetime] = {}

    @property
    def ends(self) -> Mapping[ResourceKey, datetime]:
        """When certificates of secrets end, as of the last run."""
        return self._ends

    def run(self) -> Ran:
        """Renew what is due, then tell of what nears its end."""
        desired = self._read_desired()
        if desired is None:
            return Ran(after=_SOON)
        errors: list[str] = []
        renewed, ending = self._renew(desired, errors)
        try:
            ending += self._find_ending(desired)
        except CtrlplaneError as error:
            errors.append(error.message)
        store = self._open_store(desired.plane)
        self._clear(desired, store)
        told = [event for item in ending if (event := self._tell_once(store, item)) is not None]
        store.add_events([*map(self._tell_renewed, renewed), *told])
        counts = {"renewed": len(renewed), "expiring": len(ending)}
        return Ran(error="; ".join(dict.fromkeys(errors)), counts=counts)

    def _renew(
        self, desired: DesiredState, errors: list[str]
    ) -> tuple[list[IssuedCertificate], list[Ending]]:
        """What was issued, and what could not be."""
        hosts = hosts_of(desired)
        if not hosts:
            return [], []
        desk = self._open_desk(desired.plane)
        looked = desk.look(hosts)
        if looked.error is not None:
            errors.append(looked.error.message)
            missing = list(looked.found.values())
            return [], _near(missing, looked.error.message)
        renewed, failed = [], []
        for key, item in looked.found.items():
            if item.digest:
                continue
            try:
                issued = desk.issue(key, hosts[key])
                renewed += [issued] if issued.is_new else []
            except CertificateError as error:
                errors.append(error.message)
                failed.append(item)
        return renewed, _near(failed, errors[0] if errors else "")

    def _clear(self, desired: DesiredState, store: Store) -> None:
        """Keys are not kept for routes that are gone; what is recorded may still be shown."""
        hosts = hosts_of(desired)
        desk = self._open_desk(desired.plane)
        unknown = [key for key in desk.shelf.list_keys() if key not in hosts]
        recorded = store.load_state().resources if unknown else {}
        for key in unknown:
            if key not in recorded and route_of(key) not in recorded:
                desk.shelf.remove(key)

    def _find_ending(self, desired: DesiredState) -> list[Ending]:
        """Of the secrets that routes show."""
        shown = {
            route.certificate
            for item in desired.instances.values()
            for route in item.routes
            if route.certificate is not None and route.certificate.kind is Kind.SECRET
        }
        values = self._read_secrets() if shown else {}
        self._ends = find_ends({key: item for key, item in values.items() if key in shown})
        return [Ending(key.address, ends) for key, ends in self._ends.items()]

    def _tell_once(self, store: Store, item: Ending) -> Event | None:
        """An event where a threshold was passed that was not told of, in this life or before."""
        left = item.not_after - self._clock.now()
        passed = next((limit for limit in _THRESHOLDS if left <= limit), None)
        if passed is None:
            return None
        ends = f"{item.not_after:%Y-%m-%dT%H:%M:%SZ}"
        data = {"threshold": format_duration(passed), "notAfter": ends}
        where = EventFilter(LogFilter(address=item.address), EventType.CERTIFICATE_EXPIRING.value)
        rows = store.read_events(where, Page(1))
        if rows and dict(rows[0].event.data) == data:
            return None
        when = f"{item.not_after:%Y-%m-%d %H:%M} UTC"
        text = f"expires at {when}" if passed else f"has expired at {when}"
        text += f": {item.why}" if item.why else ""
        now = self._clock.now()
        return make_event(EventType.CERTIFICATE_EXPIRING, now, item.address, text, data)

    def _tell_renewed(self, item: IssuedCertificate) -> Event:
        ends = "" if item.not_after is None else f", until {item.not_after:%Y-%m-%d}"
        names = ", ".join(item.hosts[:3]) + (" ..." if len(item.hosts) > 3 else "")
        return make_event(
            EventType.CERTIFICATE_RENEWED,
            self._clock.now(),
            route_of(item.key).address,
            f"for {names}{ends}",
        )


def hosts_of(desired: DesiredState) -> dict[ResourceKey, tuple[str, ...]]:
    """The names of each certificate that is issued, as the specs have them."""
    return {
        route.certificate: tuple(sorted({*route.hosts, *route.preview_hosts}))
        for item in desired.instances.values()
        for route in item.routes
        if route.certificate is not None and route.certificate.kind is Kind.CERTIFICATE
    }


def _near(items: list[IssuedCertificate], why: str) -> list[Ending]:
    return [
        Ending(route_of(item.key).address, item.not_after, why)
        for item in items
        if item.not_after is not None
    ]
