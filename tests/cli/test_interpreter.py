"""How Python runs in ``serve``: what is set, what is given back, and that no garbage stays."""

from __future__ import annotations

import gc
import sys
import weakref
from datetime import timedelta

from ctrlplane_gitops.cli.interpreter import serving_interpreter


class Knot:
    """Holds itself."""

    def __init__(self) -> None:
        self.itself = self


def test_the_process_is_as_it_was_after_the_block() -> None:
    before = (sys.getswitchinterval(), gc.get_threshold(), gc.isenabled())
    with serving_interpreter():
        assert sys.getswitchinterval() < before[0]
        assert gc.isenabled()
    assert (sys.getswitchinterval(), gc.get_threshold(), gc.isenabled()) == before


def test_the_collector_never_looks_at_everything_by_itself() -> None:
    with serving_interpreter():
        gc.collect()
        runs = gc.get_stats()[2]["collections"]
        kept = [[number] for number in range(300_000)]
        assert gc.get_stats()[2]["collections"] == runs
        assert len(kept) == 300_000


def test_garbage_that_has_grown_old_goes_when_the_process_is_tended() -> None:
    with serving_interpreter(timedelta()) as tend:
        knot = Knot()
        seen = weakref.ref(knot)
        gc.collect()
        del knot
        # The newest alone are looked at now and then, and it is not among them.
        gc.collect(0)
        assert seen() is not None
        tend()
        assert seen() is None


def test_who_tends_it_all_the_time_does_not_collect_all_the_time() -> None:
    with serving_interpreter(timedelta(hours=1)) as tend:
        tend()
        runs = gc.get_stats()[2]["collections"]
        for _ in range(100):
            tend()
        assert gc.get_stats()[2]["collections"] == runs
