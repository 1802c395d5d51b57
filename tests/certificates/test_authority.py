"""The control plane's own authority."""

from __future__ import annotations

import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ctrlplane_gitops.certificates.authority import LocalAuthority
from ctrlplane_gitops.certificates.base import Issuer, Request
from ctrlplane_gitops.certificates.conformance import (
    DAYS,
    HOSTS,
    IssuerConformance,
    shake_hands,
)
from ctrlplane_gitops.errors import CertificateError, SecretError
from ctrlplane_gitops.redact import SecretValue
from tests.certificates.authority_kit import NOW, make_intermediate, make_pem


class TestOfItsOwn(IssuerConformance):
    def make_issuer(self, root: Path) -> Issuer:
        return LocalAuthority("prod", root / "ca")

    def anchor_of(self, issuer: Issuer, root: Path) -> str:
        return (root / "ca/ca.crt").read_text()


@pytest.mark.parametrize("kind", ["ec", "rsa", "ed25519"])
class TestGiven(IssuerConformance):
    """By the operator, in a secret."""

    @pytest.fixture(autouse=True)
    def given(self, kind: str) -> None:
        self.pem = make_pem(kind)

    def make_issuer(self, root: Path) -> Issuer:
        return LocalAuthority("prod", root / "ca", lambda: SecretValue(self.pem))

    def anchor_of(self, issuer: Issuer, root: Path) -> str:
        return self.pem.decode().partition("-----BEGIN PRIVATE")[0]


class TestIntermediate(IssuerConformance):
    """Clients trust the root alone, so the one between goes along."""

    @pytest.fixture(autouse=True)
    def given(self) -> None:
        self.pem, self.root_pem = make_intermediate()

    def make_issuer(self, root: Path) -> Issuer:
        return LocalAuthority("prod", root / "ca", lambda: SecretValue(self.pem))

    def anchor_of(self, issuer: Issuer, root: Path) -> str:
        return self.root_pem


def test_nothing_is_made_before_it_is_needed(tmp_path: Path) -> None:
    issuer = LocalAuthority("prod", tmp_path / "ca")
    assert issuer.identify() == ""
    issuer.check(NOW)
    assert not (tmp_path / "ca").exists()


def test_its_key_is_for_nobody_else_to_read(tmp_path: Path) -> None:
    LocalAuthority("prod", tmp_path / "ca").issue(Request(HOSTS, DAYS), NOW)
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "ca").iterdir()}
    assert (modes["ca.pem"], modes["ca.crt"]) == (0o600, 0o644)
    assert stat.S_IMODE((tmp_path / "ca").stat().st_mode) == 0o700
    assert "PRIVATE" not in (tmp_path / "ca/ca.crt").read_text()


def test_a_given_one_writes_nothing(tmp_path: Path) -> None:
    pem = SecretValue(make_pem("ec"))
    LocalAuthority("prod", tmp_path / "ca", lambda: pem).issue(Request(HOSTS, DAYS), NOW)
    assert not (tmp_path / "ca").exists()


def test_nothing_outlives_the_authority(tmp_path: Path) -> None:
    pem = SecretValue(make_pem("ec", life=timedelta(days=10)))
    issuer = LocalAuthority("prod", tmp_path, lambda: pem)
    issued = issuer.issue(Request(HOSTS, 90 * DAYS), NOW)
    assert issued.is_capped and issued.not_after <= NOW + 10 * DAYS
    with pytest.raises(CertificateError, match=r"expired.*2026") as caught:
        issuer.issue(Request(HOSTS, 90 * DAYS), NOW + 11 * DAYS)
    assert "spec.certificates.from" in (caught.value.hint or "")


def wrong_key() -> bytes:
    certificate = make_pem("ec").partition(b"-----BEGIN PRIVATE")[0]
    key = b"-----BEGIN PRIVATE" + make_pem("ec").partition(b"-----BEGIN PRIVATE")[2]
    return certificate + key


@pytest.mark.parametrize(
    ("pem", "said"),
    [
        (b"", "no certificate"),
        (b"-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n", "no certificate"),
        (make_pem("ec").partition(b"-----BEGIN PRIVATE")[0], "no key"),
        (wrong_key(), "its key is not that"),
        (make_pem("ec", is_authority=False), "not that of an authority"),
    ],
)
def test_what_is_no_authority_is_refused_and_shows_no_key(
    tmp_path: Path, pem: bytes, said: str
) -> None:
    issuer = LocalAuthority("prod", tmp_path, lambda: SecretValue(pem))
    with pytest.raises(CertificateError, match=said) as caught:
        issuer.check(NOW)
    assert "BEGIN" not in f"{caught.value} {caught.value.hint}"


def test_an_own_one_that_is_damaged_is_never_made_anew(tmp_path: Path) -> None:
    """Clients trust the one there was; its copy in a backup may be put back."""
    issuer = LocalAuthority("prod", tmp_path)
    issuer.issue(Request(HOSTS, DAYS), NOW)
    whole = (tmp_path / "ca.pem").read_text()
    (tmp_path / "ca.pem").write_text(whole[:-200])
    with pytest.raises(CertificateError, match="cannot be used"):
        issuer.issue(Request(HOSTS, DAYS), NOW)
    assert (tmp_path / "ca.pem").read_text() == whole[:-200]
    (tmp_path / "ca.pem").write_text(whole)
    assert issuer.issue(Request(HOSTS, DAYS), NOW)


def test_a_secret_that_cannot_be_had_is_said_with_its_way_out(tmp_path: Path) -> None:
    def read() -> SecretValue:
        raise SecretError("the variable CA is not set", hint="set it")

    issuer = LocalAuthority("prod", tmp_path, read)
    with pytest.raises(CertificateError, match="CA is not set") as caught:
        issuer.identify()
    assert caught.value.hint == "set it"


def test_addresses_are_names_of_their_own_kind(tmp_path: Path) -> None:
    issuer = LocalAuthority("prod", tmp_path)
    issued = issuer.issue(Request(("127.0.0.1", "shop.example"), DAYS), datetime.now(UTC))
    anchor = (tmp_path / "ca.crt").read_text()
    assert shake_hands(issued.pem, anchor, "127.0.0.1", tmp_path)
    assert shake_hands(issued.pem, anchor, "shop.example", tmp_path)


def test_without_the_library_it_says_how_to_get_it_and_still_tells_authorities_apart(
    tmp_path: Path,
) -> None:
    LocalAuthority("prod", tmp_path).issue(Request(HOSTS, DAYS), NOW)
    program = f"""
import sys
sys.modules["cryptography"] = None
from datetime import UTC, datetime
from pathlib import Path
from ctrlplane_gitops.certificates.authority import LocalAuthority
from ctrlplane_gitops.errors import CertificateError
issuer = LocalAuthority("prod", Path({str(tmp_path)!r}))
print(issuer.identify())
try:
    issuer.check(datetime.now(UTC))
except CertificateError as error:
    print(error, error.hint)
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    lines = ran.stdout.splitlines()
    assert lines[0] == LocalAuthority("prod", tmp_path).identify(), ran.stderr
    assert "ctrlplane-gitops[tls]" in lines[1]


def test_looking_loads_no_library(tmp_path: Path) -> None:
    """A plan looks at a thousand of them."""
    program = (
        "import sys; import ctrlplane_gitops.certificates.registry as r, "
        "ctrlplane_gitops.certificates.authority as a; "
        "print('cryptography' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ran.stdout.strip() == "False", ran.stderr
