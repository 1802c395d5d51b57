"""Rows 1a to 1d and 8: a plan without changes as a whole process, and what starting costs."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path

from tests.bench.fleet import Fleet, make_fleet, read_replicas
from tests.bench.measure import (
    COMMAND,
    Run,
    Samples,
    Verdict,
    drift_of,
    python_environ,
    run_process,
    take_turns,
)
from tests.bench.peer import Terraform, find_compose, find_terraform
from tests.bench.stub import engine_stub

# What any program of this kind must do: start Python, list the tree, ask for the list.
_FLOOR = """
import json, socket, subprocess, sys
subprocess.run(["git", "--git-dir", sys.argv[1], "ls-tree", "-r", "-z", "main"],
               stdout=subprocess.PIPE, check=True)
connection = socket.socket(socket.AF_UNIX)
connection.connect(sys.argv[2])
connection.sendall(b"GET /containers/json?all=1 HTTP/1.0\\r\\n\\r\\n")
parts = []
while part := connection.recv(1 << 20):
    parts.append(part)
json.loads(b"".join(parts).partition(b"\\r\\n\\r\\n")[2])
"""
_TERRAFORM_MAX = 5000


class PlanBench:
    """A fleet whose engine is a stub, and everybody who plans it."""

    def __init__(self, fleet: Fleet, socket: Path, cache: Path) -> None:
        self._fleet = fleet
        self._socket = socket
        self._environ = python_environ(fleet.environ, cache)

    def warm(self) -> Run:
        arguments = ["--chdir", str(self._fleet.repo), "plan", "--ref", "main"]
        run, output = run_process([*COMMAND, *arguments], self._environ)
        assert "No changes." in output, output[-600:]
        return run

    def cold(self) -> Run:
        shutil.rmtree(self._fleet.parse_cache, ignore_errors=True)
        return self.warm()

    def floor(self) -> Run:
        arguments = [str(self._fleet.repo / ".git"), str(self._socket)]
        return run_process([sys.executable, "-c", _FLOOR, *arguments], self._environ)[0]


def measure_plans(root: Path, sizes: Collection[int]) -> Iterator[Verdict]:
    """``sizes`` are instances. Terraform gets at most 5,000: it is the size its bar is set at."""
    walls: dict[int, float] = {}
    for size in sizes:
        results, peer = _measure_size(root, size)
        walls[size] = results["warm"].wall_s
        yield from _judge(size, results, peer)
    if 1000 in walls and 10_000 in walls:
        growth = walls[10_000] / walls[1000]
        yield Verdict("1c", "warm plan: 10,000 against 1,000 instances", growth, 11)
    if find_compose() is None:
        note = "Compose version 2 is not present on this machine"
        yield Verdict("1d", "crossover against Compose at 100 instances", note=note)


def _measure_size(root: Path, size: int) -> tuple[dict[str, Samples], int]:
    folder = root / f"plan-{size}"
    # A socket's path has at most 107 bytes.
    short = Path(tempfile.mkdtemp(prefix="ctrlplane-bench-"))
    socket = short / "engine.sock"
    program = find_terraform()
    peer = min(size, _TERRAFORM_MAX) if program else 0
    try:
        fleet = make_fleet(folder, size, f"{{type: docker, host: 'unix://{socket}'}}")
        bench = PlanBench(fleet, socket, root / "pyc")
        contenders = {"floor": bench.floor, "warm": bench.warm, "cold": bench.cold}
        # The cold run leaves a cache behind, so a warm one may follow it.
        if program:
            contenders["terraform"] = Terraform(program, folder / "terraform", peer).plan
        with engine_stub(socket, read_replicas(fleet)):
            return take_turns(contenders), peer
    finally:
        shutil.rmtree(short)


def _judge(size: int, results: dict[str, Samples], peer: int) -> Iterator[Verdict]:
    """Bars are set against peers; against the floor there is only the figure."""
    is_large = size >= 10_000
    bars = {"warm": 0.10 if is_large else 0.12, "cold": 0.15 if is_large else 0.2}
    floor = results["floor"]
    note = f"floor {floor.wall_s:.3f} s ({floor.spread}), moved {drift_of(floor):.2f}x"
    for name, row in (("warm", "1c" if is_large else "1a"), ("cold", "1c" if is_large else "1b")):
        ours = results[name]
        text = f"{name} plan of {size:,}: {ours.wall_s:.3f} s ({ours.spread})"
        used = f"cpu {ours.cpu_s:.2f} s, peak {ours.peak_mib:.0f} MiB; {note}"
        yield Verdict(row, f"{text} to the floor", ours.wall_s / floor.wall_s, note=used)
        if peer:
            other = results["terraform"]
            ratio = ours.wall_s / other.wall_s
            about = f"terraform {other.wall_s:.2f} s, {other.peak_mib:.0f} MiB"
            # The bars at 10,000 are set against half of it; at 100 against Compose only.
            bar = bars[name] if size >= 1000 else None
            yield Verdict(row, f"{name} plan of {size:,} to Terraform's of {peer:,}", ratio, bar,
                          note=about)  # fmt: skip
        else:
            yield Verdict(row, f"{name} plan of {size:,} to Terraform's",
                          note="terraform is not present")  # fmt: skip
    if find_compose() is None:
        yield Verdict("1a", f"plan of {size:,} to Compose's", note="Compose v2 is not present")


def measure_start(root: Path) -> Iterator[Verdict]:
    """Row 8: ``--help``, and a plan of a repo with nothing but a control plane."""
    environ = python_environ({"PATH": "/usr/bin:/bin", "HOME": str(root)}, root / "pyc")
    folder = root / "empty"
    folder.mkdir()
    text = "apiVersion: ctrlplane.dev/v1\nkind: ControlPlane\nmetadata: {name: empty}\n"
    spec = "spec: {providers: {here: {type: memory}}, defaultProvider: here}\n"
    (folder / "ctrlplane.yaml").write_text(text + spec)

    def run(*command: str) -> Run:
        return run_process([sys.executable, *command], environ)[0]

    module = ("-m", "ctrlplane_gitops")
    results = take_turns(
        {
            "argparse": lambda: run("-c", "import argparse"),
            "help": lambda: run(*module, "--help"),
            "plan": lambda: run(*module, "--chdir", str(folder), "plan"),
        },
        20,
    )
    best = {name: min(item.wall_s for item in found.runs) for name, found in results.items()}
    note = f"best of 20; argparse {best['argparse'] * 1000:.0f} ms"
    yield Verdict(
        "8", "--help to importing argparse", best["help"] / best["argparse"], 2, note=note
    )
    yield Verdict("8", "--help", best["help"] * 1000, 200, "ms")
    yield Verdict("8", "plan of an empty control plane", best["plan"] * 1000, 200, "ms")
