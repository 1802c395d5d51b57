"""Who may come in over HTTP."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from ctrlplane_gitops.value import struct


class Role(StrEnum):
    """From the least to the most; each may what those before it may."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


@struct
class AccessToken:
    """A token as Git knows it: by the SHA-256 of its text, in hex. ``tenants`` None: all of them,
    and the control plane as a whole. ``expires_at`` None: never."""

    name: str
    sha256: str
    role: Role = Role.VIEWER
    tenants: frozenset[str] | None = None
    expires_at: datetime | None = None
