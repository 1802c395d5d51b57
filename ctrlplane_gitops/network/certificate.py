"""A secret of type tls: a certificate chain and its key in one PEM."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import field

from ctrlplane_gitops.redact import SecretValue
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.traffic import RouteTable
from ctrlplane_gitops.value import struct

_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----\n.+?\n-----END \1-----", re.DOTALL)


@struct
class Pem:
    chain: str
    key: str = field(repr=False)

    @property
    def text(self) -> str:
        return self.chain + self.key


def complete_certificates(
    table: RouteTable,
    certificates: Mapping[ResourceKey, SecretValue],
    find_held: Callable[[ResourceKey], str | None],
) -> dict[ResourceKey, SecretValue]:
    """The values of the certificates a table shows, without what else stands in them, so that one
    read back is the same. One that has no value now (its tenant's specs cannot be read) is as
    ``find_held`` gives it, the PEM the router has. What cannot be used is left as it is, to be
    refused."""
    found = {}
    for key in {item.certificate for item in table.entries if item.certificate is not None}:
        value = certificates.get(key)
        if value is None:
            held = find_held(key)
            if held is None:
                continue
            value = SecretValue(held.encode())
        try:
            found[key] = SecretValue(parse_pem(value).text.encode())
        except ValueError:
            found[key] = value
    return found


def parse_pem(value: SecretValue) -> Pem:
    """The certificates, leaf first, and the key, each block as it was written; ValueError says
    what is wrong, and shows nothing of it. The key is really that of the leaf."""
    text = value.reveal().decode("ascii", "replace").replace("\r\n", "\n")
    blocks = [(match[1], match[0]) for match in _BLOCK.finditer(text)]
    chain = [block for kind, block in blocks if kind == "CERTIFICATE"]
    keys = [block for kind, block in blocks if kind.endswith("PRIVATE KEY")]
    if not chain or len(keys) != 1:
        raise ValueError(
            f"it has {len(chain)} certificates and {len(keys)} private keys in PEM;"
            " it needs the chain and one key"
        )
    pem = Pem("\n".join(chain) + "\n", keys[0] + "\n")
    _load(pem)
    return pem


def _load(pem: Pem) -> None:
    # In memory only: a file would leave the key on a disk.
    handle = os.memfd_create("pem", os.MFD_CLOEXEC)
    try:
        os.write(handle, (pem.chain + pem.key).encode())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(f"/proc/self/fd/{handle}", password=lambda: "")
    except (ssl.SSLError, ValueError, OSError) as error:
        reason = getattr(error, "reason", None) or type(error).__name__
        raise ValueError(f"its certificate and key cannot be used: {reason}") from None
    finally:
        os.close(handle)
