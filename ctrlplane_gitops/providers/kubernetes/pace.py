"""How patient watching is."""

from __future__ import annotations

from ctrlplane_gitops.value import struct


@struct
class Pace:
    """``life_s``: how long a watch lives, less a tenth by chance; then all is listed anew.
    ``trust_s``: a watch that was lost for longer is not gone on with. Between tries it waits from
    ``first_wait_s``, doubling, to ``longest_wait_s``, less half of it by chance, and begins anew
    with a watch that has lived for ``well_s``; where it may not watch, for ``refused_s``.
    ``start_s``: how long somebody else is given to make the first list."""

    life_s: float = 600.0
    trust_s: float = 30.0
    first_wait_s: float = 0.1
    longest_wait_s: float = 30.0
    well_s: float = 10.0
    refused_s: float = 300.0
    start_s: float = 2.0
