"""What one probe said."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """``message`` says why a probe failed, or what passed (``200``); it quotes no body."""

    is_ok: bool
    message: str = ""
