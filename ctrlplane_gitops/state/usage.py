"""What replicas use of their machine."""

from __future__ import annotations

from ctrlplane_gitops.value import struct


@struct
class Usage:
    """One replica's. ``cpu_s`` (seconds of one core), ``rx_bytes`` and ``tx_bytes`` (network, in
    and out) are totals since it started; ``memory_bytes`` is what it holds now. None: it cannot be
    told here."""

    cpu_s: float | None = None
    memory_bytes: int | None = None
    rx_bytes: int | None = None
    tx_bytes: int | None = None
