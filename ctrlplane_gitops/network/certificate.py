"""A secret of type tls: a certificate chain and its key in one PEM."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import field

from ctrlplane_gitops.redact import SecretValue
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.traffic import RouteEntry, RouteTable
from ctrlplane_gitops.value import struct

_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----\n.+?\n-----END \1-----", re.DOTALL)


@struct
class Pem:
    chain: str
    key: str = field(repr=False)


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


def keep_certificates(
    table: RouteTable,
    given: Mapping[ResourceKey, SecretValue],
    read: Callable[[RouteEntry], SecretValue | None],
) -> Mapping[ResourceKey, SecretValue]:
    """Those that are given, and of the others the table needs what ``read`` finds: what the router
    shows for an entry already."""
    found = dict(given)
    for entry in table.entries:
        if entry.certificate is not None and entry.certificate not in found:
            value = read(entry)
            if value is not None:
                found[entry.certificate] = value
    return found


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
