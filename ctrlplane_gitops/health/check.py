"""What one probe said."""

from __future__ import annotations

from ctrlplane_gitops.value import struct


@struct
class ProbeResult:
    """``message`` says why a probe failed, or what passed (``200``); it quotes no body."""

    is_ok: bool
    message: str = ""
