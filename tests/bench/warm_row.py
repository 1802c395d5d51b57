"""Row 2: a pass of a controller that stays, after a commit that changed one file."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.bench.fleet import Fleet, make_fleet, read_replicas
from tests.bench.measure import (
    Run,
    Samples,
    Verdict,
    drift_of,
    median_ratio,
    python_environ,
    run_process,
    take_turns,
)
from tests.bench.stub import engine_stub
from tests.source.repo import git

_ROUNDS = 20


class WarmBench:
    """A fleet with an origin, a controller that mirrors it, and a bare clone that only fetches."""

    def __init__(self, fleet: Fleet, controller: subprocess.Popen[str]) -> None:
        self._fleet = fleet
        self._controller = controller
        self._commits = 0
        self.answers: list[dict[str, Any]] = []

    def fetch(self) -> Run:
        """The commit first, then the control."""
        self._commits += 1
        self._fleet.commit_change(str(self._commits + 1))
        git(self._fleet.repo, "push", "-q", "origin", "main")
        command = ["git", f"--git-dir={self._fleet.root / 'control.git'}", "fetch", "-q", "origin"]
        return run_process([*command, "+refs/heads/*:refs/heads/*"], self._fleet.environ)[0]

    def reconcile(self) -> Run:
        """The controller's pass over the same commit."""
        assert self._controller.stdin is not None
        self._controller.stdin.write("\n")
        self._controller.stdin.flush()
        answer = self._read()
        self.answers.append(answer)
        return Run(answer["wall_s"], 0.0, answer["rss_mib"])

    def _read(self) -> dict[str, Any]:
        assert self._controller.stdout is not None
        line = self._controller.stdout.readline()
        if not line:
            raise RuntimeError("the controller has ended")
        found: dict[str, Any] = json.loads(line)
        return found


def measure_warm(root: Path, sizes: Collection[int]) -> Iterator[Verdict]:
    with ExitStack() as stack:
        benches = {size: stack.enter_context(_running(root, size)) for size in sizes}
        contenders: dict[str, Callable[[], Run]] = {}
        for size, bench in benches.items():
            contenders |= {f"fetch {size}": bench.fetch, f"pass {size}": bench.reconcile}
        results = take_turns(contenders, _ROUNDS)
    drift = max(drift_of(results[f"fetch {size}"], _ROUNDS // 4) for size in sizes)
    for size, bench in benches.items():
        yield from _judge(size, bench, results, drift)
    if {1000, 10_000} <= benches.keys():
        yield from _judge_growth(results, drift)


def _judge_growth(results: dict[str, Samples], drift: float) -> Iterator[Verdict]:
    """Round by round, for the machine is not the same in two of them. Git's own fetch of the same
    commit takes longer in a larger repository too, and nobody can pass over it."""
    small, large = results["pass 1000"].walls_s, results["pass 10000"].walls_s
    less, more = results["fetch 1000"].walls_s, results["fetch 10000"].walls_s
    growth = median_ratio(large, small)
    yield Verdict("2", "pass over 10,000 to a pass over 1,000", growth, 1.3, drift=drift)
    fetch = median_ratio(more, less)
    yield Verdict("2", "a bare fetch of 10,000 to a bare fetch of 1,000", fetch)
    rest = [wall - (grown - was) for wall, grown, was in zip(large, more, less, strict=True)]
    net = median_ratio(rest, small)
    yield Verdict("2", "pass over 10,000, less what the fetch grew, to one over 1,000", net)


def _judge(
    size: int, bench: WarmBench, results: dict[str, Samples], drift: float
) -> Iterator[Verdict]:
    ours, fetch = results[f"pass {size}"], results[f"fetch {size}"]
    note = f"{ours.wall_s * 1000:.0f} ms ({ours.spread}), fetch {fetch.wall_s * 1000:.0f} ms"
    note += f" ({fetch.spread}), moved {drift:.2f}x; the engine is a stub"
    ratio = median_ratio(ours.walls_s, fetch.walls_s)
    text = f"pass after a one-file commit in {size:,}"
    yield Verdict("2", f"{text} to a bare fetch", ratio, 3, note=note, drift=drift)
    parsed = [answer["parsed"] for answer in bench.answers]
    assert min(parsed) >= 1, "a pass has not seen its commit"
    yield Verdict("2", f"{text}: files parsed, at most", max(parsed), 1, "")
    reads = max(answer["reads"] for answer in bench.answers)
    yield Verdict("2", f"{text}: looks at the provider, at most", reads, 2, "")
    # 180 MiB is the bar of a daemon with 10,000 instances.
    rss, bar = ours.runs[-1].peak_mib, 180 if size >= 10_000 else None
    note = f"after {len(ours.runs)} passes; {ours.runs[0].peak_mib:.0f} after the first"
    yield Verdict("mem", f"resident controller of {size:,}", rss, bar, "MiB", note=note)


@contextmanager
def _running(root: Path, size: int) -> Iterator[WarmBench]:
    folder = root / f"warm-{size}"
    # A socket's path has at most 107 bytes.
    short = Path(tempfile.mkdtemp(prefix="ctrlplane-bench-"))
    socket = short / "engine.sock"
    try:
        fleet = make_fleet(folder, size, f"{{type: docker, host: 'unix://{socket}'}}")
        origin = folder / "origin.git"
        git(folder, "clone", "-q", "--bare", str(fleet.repo), str(origin))
        # As a forge has it: a clone of files takes them over loose.
        git(origin, "repack", "-a", "-d", "-q")
        git(folder, "clone", "-q", "--bare", str(origin), str(folder / "control.git"))
        git(fleet.repo, "remote", "add", "origin", str(origin))
        command = [sys.executable, "-m", "tests.bench.warm", f"file://{origin}", "main"]
        environ = python_environ(fleet.environ, root / "pyc")
        with engine_stub(socket, read_replicas(fleet)), subprocess.Popen(
            command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as controller:  # fmt: skip
            bench = WarmBench(fleet, controller)
            bench._read()
            yield bench
    finally:
        shutil.rmtree(short)
