"""Certificates of routes: which there are, which have to be issued, and issuing them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from ctrlplane_gitops.certificates.base import Issuer, Request
from ctrlplane_gitops.certificates.shelf import Shelf, Shelved
from ctrlplane_gitops.clock import Clock
from ctrlplane_gitops.errors import CertificateError
from ctrlplane_gitops.redact import SecretValue
from ctrlplane_gitops.state.desired import CertificatePolicy, IssuedCertificate
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.value import field, record, replace

Hosts = Mapping[ResourceKey, tuple[str, ...]]


@record
class Looked:
    """``found`` has what there is of each certificate, ``values`` those that can be shown,
    ``unready`` those that cannot and cannot be issued either, because of ``error``; with one and
    nobody unready it only keeps them from being renewed."""

    found: dict[ResourceKey, IssuedCertificate] = field(default_factory=dict)
    values: dict[ResourceKey, SecretValue] = field(default_factory=dict)
    unready: list[ResourceKey] = field(default_factory=list)
    error: CertificateError | None = None


class CertificateDesk:
    """``is_renewing``: what nears its end has to be issued anew. ``plane`` keys the digests."""

    def __init__(
        self,
        plane: str,
        policy: CertificatePolicy,
        issuer: Issuer,
        shelf: Shelf,
        clock: Clock,
        *,
        is_renewing: bool = True,
    ) -> None:
        self._plane = plane
        self._policy = policy
        self._issuer = issuer
        self._clock = clock
        self._is_renewing = is_renewing
        self.shelf = shelf

    def look(self, wanted: Hosts) -> Looked:
        """Changes nothing, and never raises."""
        now, looked, identity = self._clock.now(), Looked(), ""
        try:
            identity = self._issuer.identify()
        except CertificateError as error:
            looked.error = error
        shelved = {key: self.shelf.read(key) for key in wanted}
        for key, hosts in wanted.items():
            there = shelved[key]
            looked.found[key] = self._judge(key, hosts, there, identity, now)
            if there is not None:
                looked.values[key] = there.issued.pem
        missing = [item for item in looked.found.values() if not item.digest]
        if missing and looked.error is None:
            try:
                self._issuer.check(now)
            except CertificateError as error:
                looked.error = error
        if looked.error is not None:
            for item in missing:
                self._make_do(item, shelved[item.key], now, looked)
        return looked

    def _make_do(
        self, item: IssuedCertificate, shelved: Shelved | None, now: datetime, looked: Looked
    ) -> None:
        """Nothing can be issued: what is still good stays as it is."""
        is_good = shelved is not None and shelved.hosts == item.hosts
        if shelved is None or not is_good or shelved.issued.not_after <= now:
            looked.unready.append(item.key)
            return
        digest = self._digest(item.key, shelved)
        looked.found[item.key] = replace(item, digest=digest, reason="")

    def issue(self, key: ResourceKey, hosts: tuple[str, ...]) -> IssuedCertificate:
        """Issue it, unless somebody else just did; CertificateError when that is not possible."""
        now = self._clock.now()
        try:
            with self.shelf.lock():
                known = self._judge(key, hosts, self.shelf.read(key), self._issuer.identify(), now)
                if known.digest:
                    return known
                issued = self._issuer.issue(Request(hosts, self._policy.duration), now)
                shelved = Shelved(hosts, self._issuer.identify(), issued)
                self.shelf.put(key, shelved)
        except OSError as error:
            raise CertificateError(f"{key} cannot be kept: {error}", is_retryable=True) from None
        digest = self._digest(key, shelved)
        return IssuedCertificate(key, hosts, digest, issued.not_after, is_new=True)

    def value_of(self, key: ResourceKey) -> SecretValue:
        """What lies there; CertificateError when it is gone again."""
        shelved = self.shelf.read(key)
        if shelved is None:
            raise CertificateError(f"{key} was just issued and is gone", is_retryable=True)
        return shelved.issued.pem

    def _digest(self, key: ResourceKey, shelved: Shelved) -> str:
        return shelved.issued.pem.digest(f"{self._plane}/{key}")

    def _judge(
        self,
        key: ResourceKey,
        hosts: tuple[str, ...],
        shelved: Shelved | None,
        identity: str,
        now: datetime,
    ) -> IssuedCertificate:
        if shelved is None:
            return IssuedCertificate(key, hosts, reason="there is none that can be used")
        issued = shelved.issued
        left = issued.not_after - now
        is_due = left < self._policy.renew_before and not issued.is_capped
        rules = (
            (shelved.hosts != hosts, "it is for other hosts"),
            # With the authority out of reach nobody can say, and nobody could issue another.
            (bool(identity) and shelved.issuer != identity, "the authority is another one"),
            (left.total_seconds() <= 0, "it has expired"),
            (is_due and self._is_renewing, f"it expires {issued.not_after:%Y-%m-%d}"),
        )
        reason = next((text for is_met, text in rules if is_met), "")
        digest = "" if reason else self._digest(key, shelved)
        return IssuedCertificate(key, hosts, digest, issued.not_after, reason)
