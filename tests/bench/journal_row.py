"""Row 9: what one step costs the store, whatever is in it already."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from tests.bench.fleet import apply_fleet, make_fleet
from tests.bench.measure import Verdict

_SIZES = (100, 1000)
_CHANGES = 10


def measure_journal(root: Path) -> Iterator[Verdict]:
    """Bytes, not time: the same on every machine. Written through the real store, its log moved
    into its file included."""
    firsts, steps = {}, {}
    for size in _SIZES:
        fleet = make_fleet(root / f"journal-{size}", size)
        written = []
        for change in range(_CHANGES + 1):
            fleet.commit_change(str(change + 2), number=change * size // (_CHANGES + 1))
            written.append(apply_fleet(fleet))
        # The first one after the first apply also forgets what is too much of the history.
        del written[0]
        steps[size] = sum(written) / _CHANGES / 1024
        firsts[size] = fleet.written / size / 1024
        shutil.rmtree(fleet.root)
    for text, found in (
        ("rollout of one instance", steps),
        ("first apply, per instance", firsts),
    ):
        small, large = (found[size] for size in _SIZES)
        note = f"{large:.0f} KiB to {small:.0f} KiB"
        yield Verdict(
            "9", f"bytes written, {text}: in 1,000 to in 100", large / small, 1.1, note=note
        )
