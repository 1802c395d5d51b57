"""Bearer tokens: 32 random bytes, so a plain SHA-256 keeps them, and nobody guesses one."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable
from datetime import datetime

from ctrlplane_gitops.auth.roles import Permission, has_permission
from ctrlplane_gitops.ids import new_secret
from ctrlplane_gitops.state.access import AccessToken, Role
from ctrlplane_gitops.value import struct

_PREFIX = "cpt"
# What the verb makes, and nothing that a person could think up: a digest in Git may be tried
# against a list of words.
_FORMAT = re.compile(rf"{_PREFIX}_[A-Za-z0-9_-]{{43}}")


@struct
class Principal:
    """Who asks. ``actor`` is what the audit says. ``tenants`` None: all of them, and the control
    plane as a whole."""

    actor: str
    role: Role
    tenants: frozenset[str] | None = None

    def may(self, permission: Permission) -> bool:
        return has_permission(self.role, permission)

    def can_see(self, tenant: str) -> bool:
        return self.tenants is None or tenant in self.tenants


ANONYMOUS = Principal("user:anonymous", Role.OPERATOR)
"""Whoever asks where nobody has to say who they are. Running commands in replicas is not among
what they may: another user of the machine, or a replica, can reach a loopback address as well."""

NOBODY = Principal("user:anonymous", Role.VIEWER, frozenset())
"""Whoever asks for what everybody may have."""


def new_token() -> str:
    """A fresh token."""
    return new_secret(_PREFIX)


def digest_of(token: str) -> str:
    """As Git has it.

    >>> digest_of("cpt_x")[:12]
    '313997057ef9'
    """
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def find_token(tokens: Iterable[AccessToken], text: str, now: datetime) -> AccessToken | None:
    """The token with this text that is still taken. How long it takes does not tell which were
    close: every digest is compared, in full."""
    given = digest_of(text).encode()
    found = None
    for item in tokens:
        if hmac.compare_digest(item.sha256.encode(), given):
            found = item
    if found is None or not _FORMAT.fullmatch(text):
        return None
    return None if found.expires_at is not None and found.expires_at <= now else found


def principal_of(token: AccessToken) -> Principal:
    """
    >>> principal_of(AccessToken("ci", "")).actor
    'token:ci'
    """
    return Principal(f"token:{token.name}", token.role, token.tenants)
