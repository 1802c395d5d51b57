"""Issuers by name, and the desk of one control plane."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from ctrlplane_gitops.certificates.base import Issuer
from ctrlplane_gitops.certificates.desk import CertificateDesk
from ctrlplane_gitops.certificates.shelf import Shelf
from ctrlplane_gitops.clock import Clock
from ctrlplane_gitops.diagnostics import did_you_mean
from ctrlplane_gitops.errors import UsageError
from ctrlplane_gitops.redact import SecretValue
from ctrlplane_gitops.state.desired import ControlPlane
from ctrlplane_gitops.value import struct


@struct
class IssuerSettings:
    """What every issuer is built from. ``directory`` is its own; ``read_given`` gives the value of
    ``spec.certificates.from`` (SecretError when it cannot be had), None where there is none."""

    plane: str
    directory: Path
    read_given: Callable[[], SecretValue] | None = None


def _build_authority(settings: IssuerSettings) -> Issuer:
    from ctrlplane_gitops.certificates.authority import LocalAuthority

    return LocalAuthority(settings.plane, settings.directory, settings.read_given)


_BUILDERS: Mapping[str, Callable[[IssuerSettings], Issuer]] = {"ca": _build_authority}
ISSUER_TYPES = tuple(sorted(_BUILDERS))


def build_desk(
    plane: ControlPlane,
    state_dir: Path,
    read_given: Callable[[], SecretValue] | None,
    clock: Clock,
    *,
    is_renewing: bool = True,
) -> CertificateDesk:
    """UsageError with the closest known name for an issuer that is none."""
    name = plane.certificates.issuer
    builder = _BUILDERS.get(name)
    if builder is None:
        raise UsageError(f"there is no issuer {name!r}", hint=did_you_mean(name, ISSUER_TYPES))
    directory = state_dir / "certificates"
    issuer = builder(IssuerSettings(plane.name, directory, read_given))
    shelf = Shelf(directory / "issued")
    return CertificateDesk(
        plane.name, plane.certificates, issuer, shelf, clock, is_renewing=is_renewing
    )
