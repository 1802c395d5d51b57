"""Row 6: what a ``serve`` holds in memory, pass after pass."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import mean

from tests.bench.fleet import Fleet, make_fleet, read_replicas
from tests.bench.measure import Verdict, python_environ
from tests.bench.stub import engine_stub
from tests.source.repo import commit, git, write

_CYCLES = 50
# Bars by size, in MiB: performance.md row 6.
_BARS = {10_000: 180, 100_000: 600}
_BOUND = 10_000
_PASSES = re.compile(r'^ctrlplane_passes_total\{outcome="[a-zA-Z]+"\} ([0-9.]+)$', re.MULTILINE)
_PATIENCE_S = 600
_LISTENING = re.compile(r"listening on .*?(http\S+)$", re.MULTILINE)


class Served:
    """A ``serve`` over a fleet whose engine is a stub. ``rss_mib`` is read from the kernel. What
    it says is in ``log``."""

    def __init__(self, fleet: Fleet, process: subprocess.Popen[str], log: Path) -> None:
        self.fleet, self._process = fleet, process
        while (found := _LISTENING.search(log.read_text())) is None:
            if process.poll() is not None:
                raise RuntimeError(f"serve has ended: {log.read_text()[-1000:]}")
            time.sleep(0.1)
        self._url = found[1]

    def count_passes(self) -> int:
        with urllib.request.urlopen(f"{self._url}/metrics", timeout=60) as answer:
            return int(sum(float(text) for text in _PASSES.findall(answer.read().decode())))

    def wait_passes(self, count: int) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while self.count_passes() < count:
            if time.monotonic() >= deadline:
                raise RuntimeError("it makes no passes")
            time.sleep(0.1)

    @property
    def rss_mib(self) -> float:
        return self._read_status("VmRSS")

    @property
    def peak_mib(self) -> float:
        """Since ``forget_peak``, else since it began."""
        return self._read_status("VmHWM")

    def forget_peak(self) -> None:
        # proc(5): 5 resets the peak of the resident set size.
        Path(f"/proc/{self._process.pid}/clear_refs").write_text("5")

    def _read_status(self, name: str) -> float:
        text = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(text.split(f"{name}:")[1].split()[0]) / 1024


def measure_memory(root: Path, sizes: Collection[int]) -> Iterator[Verdict]:
    rss = {}
    for size in sizes:
        with _serving(root, size) as served:
            samples, before_change, peak = _sample(served)
        steady = mean(samples[-5:])
        rss[size] = steady
        half = samples[len(samples) // 2 :]
        growth = (mean(half[-5:]) / mean(half[:5]) - 1) * 100
        note = f"{samples[0]:.0f} after the first, {max(samples):.0f} at most"
        text = f"serve over {size:,} instances after {len(samples)} passes"
        yield Verdict("6", text, steady, _BARS.get(size), "MiB", note=note)
        # Growth and peak are promised of ten thousand alone.
        growth_bar, peak_bar = (1, 1.5) if size == _BOUND else (None, None)
        yield Verdict("6", f"{text}: growth over the last half", growth, growth_bar, "%")
        change = f"its peak while every file changes, to {before_change:.0f} MiB before"
        yield Verdict("6", change, peak / before_change, peak_bar)
    if len(rss) > 1:
        (small, least), *_, (large, most) = sorted(rss.items())
        each = (most - least) * 1024 / (large - small)
        yield Verdict("6", f"one instance more, {small:,} to {large:,}", each, 6, "KiB")


def _sample(served: Served) -> tuple[list[float], float, float]:
    """Resident after each pass; then before every file changes, and the peak after that."""
    served.wait_passes(1)
    samples = []
    for number in range(_CYCLES):
        served.wait_passes(number + 2)
        samples.append(served.rss_mib)
    before, fleet = served.rss_mib, served.fleet
    served.forget_peak()
    # A label changes every file and restarts nothing.
    files = {
        path: (fleet.repo / path).read_bytes().replace(b"region: eu-central", b"region: eu-west")
        for path in (fleet.path_of(number) for number in range(fleet.size))
    }
    write(fleet.repo, files)
    commit(fleet.repo)
    git(fleet.repo, "push", "-q", "origin", "main")
    served.wait_passes(served.count_passes() + 4)
    return samples, before, served.peak_mib


@contextmanager
def _serving(root: Path, size: int) -> Iterator[Served]:
    folder = root / f"memory-{size}"
    # A socket's path has at most 107 bytes.
    short = Path(tempfile.mkdtemp(prefix="ctrlplane-bench-"))
    socket = short / "engine.sock"
    try:
        fleet = make_fleet(folder, size, f"{{type: docker, host: 'unix://{socket}'}}")
        origin = folder / "origin.git"
        git(folder, "clone", "-q", "--bare", str(fleet.repo), str(origin))
        git(origin, "repack", "-a", "-d", "-q")
        git(fleet.repo, "remote", "add", "origin", str(origin))
        command = [
            sys.executable, "-m", "ctrlplane_gitops", "serve", "--source", f"file://{origin}",
            "--ref", "main", "--poll", "1s", "--interval", "1s", "--listen", "127.0.0.1:0",
        ]  # fmt: skip
        environ = python_environ(fleet.environ, root / "pyc")
        log = folder / "serve.log"
        with engine_stub(socket, read_replicas(fleet)), log.open("w") as said, subprocess.Popen(
            command, env=environ, stdout=subprocess.DEVNULL, stderr=said, text=True
        ) as process:  # fmt: skip
            try:
                yield Served(fleet, process, log)
            finally:
                process.terminate()
                process.wait()
    finally:
        shutil.rmtree(short)
