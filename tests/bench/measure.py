"""Measuring: whole processes, in turns, so that a busy moment hits everybody."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from ctrlplane_gitops.clock import monotonic_s

ROUNDS = 5
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
    def cpu_s(self) -> float:
        return median(run.cpu_s for run in self.runs)

    @property
    def peak_mib(self) -> float:
        return max(run.peak_mib for run in self.runs)

    @property
    def spread(self) -> str:
        walls = [run.wall_s for run in self.runs]
        return f"{min(walls):.3f}-{max(walls):.3f}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One row of the table. ``value`` is held against ``bar`` (at most); None: not measured."""

    row: str
    text: str
    value: float | None = None
    bar: float | None = None
    unit: str = "x"
    note: str = ""

    @property
    def word(self) -> str:
        if self.value is None:
            return "skipped"
        if self.bar is None:
            return ""
        return "pass" if self.value <= self.bar else "FAIL"


def run_process(
    command: Sequence[str],
    environ: Mapping[str, str],
    folder: Path | None = None,
    ok_codes: Sequence[int] = (0,),
) -> tuple[Run, str]:
    """Run to the end; what it took and what it printed. RuntimeError for another exit code."""
    began = monotonic_s()
    process = subprocess.Popen(
        command, env=dict(environ), cwd=folder, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdout is not None
    output = process.stdout.read().decode("utf-8", "replace")
    process.stdout.close()
    # Popen.wait would not say what the child used.
    _, status, used = os.wait4(process.pid, 0)
    wall = monotonic_s() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in ok_codes:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}: {output[-600:]}")
    return Run(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024), output


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


def drift_of(control: Samples) -> float:
    """How far the machine moved meanwhile: last round against first, as a ratio above 1."""
    first, last = control.runs[0].wall_s, control.runs[-1].wall_s
    return max(first, last) / min(first, last)


def python_environ(environ: Mapping[str, str], cache: Path) -> dict[str, str]:
    """As an installed program runs: with compiled modules, wherever this machine keeps them."""
    kept = {name: text for name, text in environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    kept["PYTHONPYCACHEPREFIX"] = str(cache)
    kept["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), kept.get("PYTHONPATH"))))
    return kept


COMMAND = (sys.executable, "-m", "ctrlplane_gitops")
