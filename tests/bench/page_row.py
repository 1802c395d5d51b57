"""Row 7p: how long every page takes, at so many instances."""

from __future__ import annotations

import re
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from ctrlplane_gitops.clock import monotonic_s, sleep
from tests.bench.fleet import make_fleet
from tests.bench.measure import COMMAND, Verdict

_ROUNDS, _BAR_MS, _PATIENCE_S = 20, 200, 120


def measure_pages(root: Path, sizes: list[int]) -> Iterator[Verdict]:
    """The median and the slowest of 20 requests for each page of a ``serve`` that has converged."""
    for size in sizes:
        fleet = make_fleet(root / f"pages-{size}", size, "{type: memory, path: world.json}")
        environ = {**fleet.environ, "CTRLPLANE_LISTEN": "127.0.0.1:0"}
        with _serving(fleet.repo, environ, size) as url:
            for path in _paths(url):
                _ask(url + path)
                times = sorted(_ask(url + path) for _ in range(_ROUNDS))
                text = f"page {path} of {size}, median of {_ROUNDS}"
                note = f"slowest {times[-1] * 1000:.0f} ms"
                yield Verdict("7p", text, median(times) * 1000, _BAR_MS, "ms", note=note)


def _paths(url: str) -> list[str]:
    with urllib.request.urlopen(f"{url}/commits", timeout=30) as answer:
        commit = re.search(rb'href="(/commits/[0-9a-f]+)"', answer.read())
    found = ["/", "/?q=t04", "/?page=4", "/tenants", "/tenants/t004", "/plan", "/commits"]
    found += ["/tenants/t004/instances/i00104", "/events", "/audit", "/deliveries", "/workers"]
    return [*found, commit[1].decode()] if commit else found


def _ask(url: str) -> float:
    began = monotonic_s()
    with urllib.request.urlopen(url, timeout=30) as answer:
        answer.read()
    return monotonic_s() - began


@contextmanager
def _serving(repo: Path, environ: dict[str, str], size: int) -> Iterator[str]:
    command = [*COMMAND, "--chdir", str(repo), "serve", "--ref", "main", "--poll", "1h"]
    with subprocess.Popen(
        command, env=environ, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stderr is not None
            line = next(item for item in process.stderr if "listening on" in item)
            url = line.split()[-1]
            _wait_ready(url, size)
            yield url
        finally:
            process.terminate()
            process.communicate(timeout=30)


def _wait_ready(url: str, size: int) -> None:
    """Until a pass is over and everybody was seen to run."""
    deadline = monotonic_s() + _PATIENCE_S
    while True:
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                if f"<b>{size}</b> running".encode() in answer.read():
                    return
        except OSError:
            pass
        if monotonic_s() > deadline:
            raise RuntimeError("serve does not become ready")
        sleep(0.2)
