"""Measuring: whole processes, in turns, so that a busy moment hits everybody."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from statistics import median

ROUNDS = 5
# A control that moves further from the first round to the last spoils what lies between them.
_STEADY = 1.2
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Run:
    """One process: wall clock and processor time in seconds, peak memory in MiB."""

    wall_s: float
    cpu_s: float
    peak_mib: float


@dataclass(slots=True)
class Samples:
    """What one contender took, round by round."""

    runs: list[Run] = field(default_factory=list)

    @property
    def wall_s(self) -> float:
        return median(run.wall_s for run in self.runs)

    @property
    def walls_s(self) -> list[float]:
        return [run.wall_s for run in self.runs]

    @property
    def cpu_s(self) -> float:
        return median(run.cpu_s for run in self.runs)

    @property
    def peak_mib(self) -> float:
        return max(run.peak_mib for run in self.runs)

    @property
    def least_s(self) -> float:
        return min(run.wall_s for run in self.runs)

    @property
    def spread(self) -> str:
        return f"{min(self.walls_s):.3f}-{max(self.walls_s):.3f}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One row of the table. ``value`` is held against ``bar`` (at most); None: not measured.
    ``drift`` is how far the control of this measurement moved (``drift_of``)."""

    row: str
    text: str
    value: float | None = None
    bar: float | None = None
    unit: str = "x"
    note: str = ""
    drift: float = 1.0

    @property
    def word(self) -> str:
        """``noisy``: the machine's own control moved meanwhile, so neither answer counts."""
        if self.value is None:
            return "skipped"
        if self.bar is None:
            return ""
        if self.drift > _STEADY:
            return "noisy"
        return "pass" if self.value <= self.bar else "FAIL"


def run_process(
    command: Sequence[str | Path],
    environ: Mapping[str, str],
    folder: Path | None = None,
    ok_codes: Sequence[int] = (0,),
) -> tuple[Run, str]:
    """Run to the end; what it took and what it printed. RuntimeError for another exit code."""
    runner = _start_runner()
    assert runner.stdin is not None and runner.stdout is not None
    place = None if folder is None else str(folder)
    runner.stdin.write(json.dumps([list(map(str, command)), dict(environ), place]) + "\n")
    runner.stdin.flush()
    code, wall, cpu, peak, output = json.loads(runner.stdout.readline())
    if code not in ok_codes:
        raise RuntimeError(f"{' '.join(map(str, command))} ended with {code}: {output[-600:]}")
    return Run(wall, cpu, peak), output


# A child's peak begins with what its parent had in memory, so a small process starts them.
_RUNNER = """
import json, os, subprocess, sys, time
for line in sys.stdin:
    command, environ, folder = json.loads(line)
    began = time.monotonic()
    process = subprocess.Popen(command, env=environ, cwd=folder, stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output = process.stdout.read().decode("utf-8", "replace")
    # Popen.wait would not say what the child used.
    _, status, used = os.wait4(process.pid, 0)
    wall = time.monotonic() - began
    process.returncode = code = os.waitstatus_to_exitcode(status)
    cpu, peak = used.ru_utime + used.ru_stime, used.ru_maxrss / 1024
    print(json.dumps([code, wall, cpu, peak, output[-4000:]]), flush=True)
"""


@cache
def _start_runner() -> subprocess.Popen[str]:
    """It ends when its input does, which is with this process."""
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _RUNNER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def take_turns(
    contenders: Mapping[str, Callable[[], Run]], rounds: int = ROUNDS
) -> dict[str, Samples]:
    """One round of everybody to warm up, then ``rounds`` that count."""
    for contender in contenders.values():
        contender()
    samples = {name: Samples() for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            samples[name].runs.append(contender())
    return samples


def best_of(count: int, contender: Callable[[], Run]) -> Callable[[], Run]:
    """A control that is over in no time says more as the best of a few."""
    return lambda: min((contender() for _ in range(count)), key=lambda run: run.wall_s)


def drift_of(control: Samples, rounds: int = 1) -> float:
    """How far the machine moved meanwhile: the last rounds against the first, as a ratio above 1.
    Of several rounds the best counts."""
    first = min(run.wall_s for run in control.runs[:rounds])
    last = min(run.wall_s for run in control.runs[-rounds:])
    return max(first, last) / min(first, last)


def median_ratio(these: Sequence[float], those: Sequence[float]) -> float:
    """Round by round, then the median: a busy moment hits both of a round.

    >>> median_ratio([2.0, 30.0, 2.0], [1.0, 10.0, 1.0])
    2.0
    """
    return median(one / other for one, other in zip(these, those, strict=True))


def python_environ(environ: Mapping[str, str], cache: Path) -> dict[str, str]:
    """As an installed program runs: with compiled modules, wherever this machine keeps them."""
    kept = {name: text for name, text in environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    kept["PYTHONPYCACHEPREFIX"] = str(cache)
    kept["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), kept.get("PYTHONPATH"))))
    return kept


COMMAND = (sys.executable, "-m", "ctrlplane_gitops")
