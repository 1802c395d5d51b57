"""``python -m tests.bench [--rows 1a,8] [--sizes 1000]``: measure, and hold against the bars.

Nothing here may be read without its ratio: absolute figures belong to the machine and the moment.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.bench.measure import Verdict
from tests.bench.plan_row import measure_plans, measure_start

ROWS = ("1a", "1b", "1c", "1d", "2", "3a", "3d", "8", "9")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--rows", default=",".join(ROWS), help=f"of {','.join(ROWS)}")
    parser.add_argument("--sizes", default="1000,10000", help="instances, for the rows 1 and 2")
    given = parser.parse_args()
    rows = set(given.rows.split(","))
    unknown = rows - set(ROWS)
    if unknown:
        parser.error(f"no such row: {', '.join(sorted(unknown))}")
    sizes = [int(size) for size in given.sizes.split(",")]
    _print_machine()
    root = Path(tempfile.mkdtemp(prefix="ctrlplane-bench-"))
    verdicts = []
    try:
        for verdict in _measure(root, rows, sizes):
            verdicts.append(verdict)
            _print(verdict)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    failed = [item for item in verdicts if item.word == "FAIL"]
    held = [item for item in verdicts if item.word == "pass"]
    print(f"\n{len(held)} bars hold, {len(failed)} do not; load {os.getloadavg()[0]:.1f}")
    return 1 if failed else 0


def _measure(root: Path, rows: set[str], sizes: list[int]) -> Iterator[Verdict]:
    if "8" in rows:
        yield from measure_start(root)
    if rows & {"1a", "1b", "1c", "1d"}:
        yield from measure_plans(root, sizes)


def _print_machine() -> None:
    git = subprocess.run(["git", "--version"], capture_output=True, text=True, check=True)
    print(
        f"Python {platform.python_version()}, {git.stdout.strip()}, {os.cpu_count()} cores, ",
        end="",
    )
    print(f"load {os.getloadavg()[0]:.1f} before")
    print("The engine of the rows 1 and 2 is a stub that replays a list, so its own time is 0.")


def _print(verdict: Verdict) -> None:
    figure = "" if verdict.value is None else f"{verdict.value:.2f} {verdict.unit}"
    bar = "" if verdict.bar is None else f"<= {verdict.bar:g}"
    line = f"{verdict.row:<3} {verdict.text:<62} {figure:>10} {bar:>8} {verdict.word:<7}"
    print(f"{line} {verdict.note}".rstrip(), flush=True)


if __name__ == "__main__":
    sys.exit(main())
