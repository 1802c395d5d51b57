"""An authority of the control plane's own: a certificate and a key that sign others."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from binascii import Error as Base64Error
from binascii import a2b_base64
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctrlplane_gitops.certificates.base import Issued, Request
from ctrlplane_gitops.errors import CertificateError, CtrlplaneError
from ctrlplane_gitops.file import lock_file, read_file, write_file
from ctrlplane_gitops.redact import SecretValue
from ctrlplane_gitops.value import struct

if TYPE_CHECKING:  # imported on first use: most commands issue nothing
    from cryptography import x509

NAME = "ca"
# As long as those of peers: whoever trusts it must be told of another one.
_LIFETIME = timedelta(days=3650)
# A client's clock may be a little behind.
_SLACK = timedelta(minutes=5)
_FIRST = re.compile(r"-----BEGIN CERTIFICATE-----\s+(.+?)-----END CERTIFICATE-----", re.DOTALL)


@struct
class _Parts:
    """``chain`` is what goes behind each leaf."""

    certificate: x509.Certificate
    key: Any
    chain: str


class LocalAuthority:
    """Signs with what ``read_given`` gives, certificate first and key, in PEM; with None by what
    lies in ``directory``, which is made when it is first needed (``ca.pem`` 0600; ``ca.crt`` is
    the certificate alone, for those who are to trust it)."""

    name = NAME

    def __init__(
        self, plane: str, directory: Path, read_given: Callable[[], SecretValue] | None = None
    ) -> None:
        self._plane = plane
        self._path = directory / "ca.pem"
        self._public = directory / "ca.crt"
        self._read_given = read_given

    def identify(self) -> str:
        text = self._read()
        return "" if text is None else _identify(text, self._place)

    def check(self, now: datetime) -> None:
        _require_library()
        text = self._read()
        if text is not None:
            self._parse(text, now)

    def issue(self, request: Request, now: datetime) -> Issued:
        _require_library()
        authority = self._parse(self._read() or self._make(now), now)
        ends = authority.certificate.not_valid_after_utc
        end = min(now + request.duration, ends)
        begin = max(now - _SLACK, authority.certificate.not_valid_before_utc)
        pem = _sign_leaf(authority, request.hosts, begin, end)
        return Issued(pem, begin, end, is_capped=end < now + request.duration)

    @property
    def _place(self) -> str:
        return "of spec.certificates.from" if self._read_given else f"in {self._path}"

    def _read(self) -> str | None:
        if self._read_given is not None:
            try:
                return self._read_given().reveal().decode("ascii", "replace")
            except CtrlplaneError as error:
                raise CertificateError(error.message, hint=error.hint) from None
        try:
            return read_file(self._path)
        except (OSError, ValueError) as error:
            raise CertificateError(f"the authority {self._place} cannot be read: {error}") from None

    def _parse(self, text: str, now: datetime) -> _Parts:
        parts = _parse(text, self._place)
        ends = parts.certificate.not_valid_after_utc
        if now >= ends:
            raise CertificateError(
                f"the authority {self._place} has expired at {ends:%Y-%m-%d %H:%M} UTC",
                hint="give another one with spec.certificates.from"
                if self._read_given
                else f"remove {self._path}: a new one is made, and has to be trusted",
            )
        return parts

    def _make(self, now: datetime) -> str:
        """Once, whoever else is about to."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with lock_file(self._path):
                text = read_file(self._path)
                if text is None:
                    chain, key = _make_authority(self._plane, now)
                    text = chain + key
                    write_file(self._public, chain, 0o644)
                    write_file(self._path, text)
                return text
        except OSError as error:
            raise CertificateError(
                f"no authority can be made in {self._path}: {error}", is_retryable=True
            ) from None


def _require_library() -> None:
    try:
        import cryptography as cryptography
    except ModuleNotFoundError:
        raise CertificateError(
            "certificates cannot be issued here: the library cryptography is not installed",
            hint="pip install 'ctrlplane-gitops[tls]', or name a secret of type tls",
        ) from None


def _identify(text: str, place: str) -> str:
    """Of the authority's own certificate. Without the library, which takes longer to import than
    a plan may."""
    found = _FIRST.search(text)
    try:
        if found is None:
            raise ValueError("there is no certificate in it")
        return hashlib.blake2b(a2b_base64(found[1]), digest_size=16).hexdigest()
    except (ValueError, Base64Error):
        raise _unusable(place, "there is no certificate in it") from None


def _unusable(place: str, why: str) -> CertificateError:
    return CertificateError(
        f"the authority {place} cannot be used: {why}",
        hint="it is the certificate of the authority, what it was signed by, and its key, in PEM",
    )


def _parse(text: str, place: str) -> _Parts:
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    content = text.encode()
    try:
        certificates = x509.load_pem_x509_certificates(content)
    except ValueError:
        raise _unusable(place, "there is no certificate in it") from None
    try:
        key = serialization.load_pem_private_key(_key_of(text), None)
    except (TypeError, ValueError):
        raise _unusable(place, "it has no key that could be read without a password") from None
    own = certificates[0]
    if key.public_key() != own.public_key():
        raise _unusable(place, "its key is not that of its first certificate")
    try:
        limits = own.extensions.get_extension_for_class(x509.BasicConstraints).value
        is_authority = limits.ca
    except x509.ExtensionNotFound:
        is_authority = False
    if not is_authority:
        raise _unusable(place, "its first certificate is not that of an authority")
    pem = serialization.Encoding.PEM
    chain = "".join(item.public_bytes(pem).decode() for item in certificates)
    return _Parts(own, key, chain)


def _key_of(text: str) -> bytes:
    found = re.search(r"-----BEGIN ([A-Z ]*PRIVATE KEY)-----.+?-----END \1-----", text, re.DOTALL)
    if found is None:
        raise ValueError("no key")
    return found[0].encode() + b"\n"


def _make_authority(plane: str, now: datetime) -> tuple[str, str]:
    """Certificate and key in PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"ctrlplane-gitops {plane}"[:64])])
    usage = _usage(key_cert_sign=True, crl_sign=True)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SLACK)
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(identifier, critical=False)
        .sign(key, hashes.SHA256())
    )
    return _dump(certificate), _dump_key(key)


def _sign_leaf(
    authority: _Parts, hosts: tuple[str, ...], begin: datetime, end: datetime
) -> SecretValue:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519
    from cryptography.x509.oid import ExtendedKeyUsageOID

    key = ec.generate_private_key(ec.SECP256R1())
    own = authority.key
    is_plain = isinstance(own, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey)
    names = x509.SubjectAlternativeName([_name_of(host) for host in hosts])
    issuer = _identifier_of(authority)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    certificate = (
        x509.CertificateBuilder()
        # Names are in the extension; without any here it is critical (RFC 5280, 4.2.1.6).
        .subject_name(x509.Name([]))
        .issuer_name(authority.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(names, critical=True)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(issuer, critical=False)
        .add_extension(identifier, critical=False)
        .sign(own, None if is_plain else hashes.SHA256())
    )
    return SecretValue((_dump(certificate) + authority.chain + _dump_key(key)).encode())


def _identifier_of(authority: _Parts) -> x509.AuthorityKeyIdentifier:
    """By the authority's own word: it may count otherwise than we would."""
    from cryptography import x509

    make = x509.AuthorityKeyIdentifier
    try:
        found = authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except x509.ExtensionNotFound:
        return make.from_issuer_public_key(authority.key.public_key())
    return make.from_issuer_subject_key_identifier(found.value)


def _name_of(host: str) -> x509.GeneralName:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _usage(**given: bool) -> x509.KeyUsage:
    from cryptography import x509

    names = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
        "key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**(dict.fromkeys(names, False) | given))


def _dump(certificate: x509.Certificate) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM).decode()


def _dump_key(key: Any) -> str:
    from cryptography.hazmat.primitives import serialization

    return str(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode()
    )
