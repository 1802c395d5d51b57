"""Authorities as operators give them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID

NOW = datetime.now(UTC).replace(microsecond=0)
_YEAR = timedelta(days=365)


def make_key(kind: str) -> Any:
    if kind == "rsa":
        return rsa.generate_private_key(65537, 2048)
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key(ec.SECP256R1())


def name_of(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def sign(
    name: str,
    key: Any,
    issuer: tuple[str, Any],
    *,
    is_authority: bool = True,
    life: timedelta = _YEAR,
    depth: int | None = None,
) -> x509.Certificate:
    usage = dict.fromkeys(
        (
            "digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
            "key_agreement", "encipher_only", "decipher_only",
        ),
        False,
    )  # fmt: skip
    limits = x509.BasicConstraints(is_authority, depth)
    of = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer[1].public_key())
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = (
        x509.CertificateBuilder()
        .subject_name(name_of(name))
        .issuer_name(name_of(issuer[0]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + life)
        .add_extension(limits, critical=True)
        .add_extension(x509.KeyUsage(key_cert_sign=True, crl_sign=True, **usage), critical=True)
        .add_extension(identifier, critical=False)
        .add_extension(of, critical=False)
    )
    is_plain = isinstance(issuer[1], ed25519.Ed25519PrivateKey)
    return builder.sign(issuer[1], None if is_plain else hashes.SHA256())


def dump(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def dump_key(key: Any) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def make_pem(kind: str, *, is_authority: bool = True, life: timedelta = _YEAR) -> bytes:
    """A root and its key."""
    key = make_key(kind)
    own = sign("given", key, ("given", key), is_authority=is_authority, life=life)
    return dump(own) + dump_key(key)


def make_intermediate() -> tuple[bytes, str]:
    """One that a root has signed, with its key; and the root's certificate."""
    root, key = make_key("ec"), make_key("ec")
    above = sign("root", root, ("root", root))
    own = sign("between", key, ("root", root), depth=0)
    return dump(own) + dump_key(key), dump(above).decode()
