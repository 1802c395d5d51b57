"""The issuer's protocol."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Protocol

from ctrlplane_gitops.redact import SecretValue
from ctrlplane_gitops.value import struct


@struct
class Request:
    """``hosts`` are all the names the certificate is for."""

    hosts: tuple[str, ...]
    duration: timedelta


@struct
class Issued:
    """``pem`` is the chain, leaf first, and its key. ``is_capped``: it ends with its issuer, so a
    new one would not last any longer."""

    pem: SecretValue
    not_before: datetime
    not_after: datetime
    is_capped: bool = False


class Issuer(Protocol):
    """Makes certificates. ``name`` is what ``spec.certificates.issuer`` says."""

    name: str

    def identify(self) -> str:
        """A text that changes when what it issued before is to be issued anew; "" when there is
        nothing yet. Cheap: every pass asks. CertificateError when the issuer cannot be used."""
        ...

    def check(self, now: datetime) -> None:
        """CertificateError when nothing can be issued; asked only where something has to be."""
        ...

    def issue(self, request: Request, now: datetime) -> Issued:
        """A new key and its certificate. CertificateError when there is none to be had."""
        ...
