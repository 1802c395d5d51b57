"""Rows 1a to 1d: a plan without changes, as a whole process."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.fleet import PLANE, Fleet, make_fleet, read_replicas
from tests.bench.measure import (
    COMMAND,
    Run,
    Samples,
    Verdict,
    best_of,
    drift_of,
    median_ratio,
    python_environ,
    run_process,
    take_turns,
)
from tests.bench.peer import Compose, Terraform, find_compose, find_terraform
from tests.bench.proxy import shown_as_running
from tests.bench.raw import COMMAND as SLEEP
from tests.bench.raw import IMAGE, LABEL, find_all, remove_all
from tests.bench.stub import engine_stub, make_labels

# What any program of this kind must do: start Python, list the tree, ask for the list.
_FLOOR = """
import json, socket, subprocess, sys
subprocess.run(["git", "--git-dir", sys.argv[1], "ls-tree", "-r", "-z", "main"],
               stdout=subprocess.PIPE, check=True)
connection = socket.socket(socket.AF_UNIX)
connection.connect(sys.argv[2])
filters = "%7B%22label%22%3A%5B%22ctrlplane.dev%2Fplane%3D" + sys.argv[3] + "%22%5D%7D"
connection.sendall(f"GET /containers/json?all=1&filters={filters} HTTP/1.0\\r\\n\\r\\n".encode())
parts = []
while part := connection.recv(1 << 20):
    parts.append(part)
json.loads(b"".join(parts).partition(b"\\r\\n\\r\\n")[2])
"""
_TERRAFORM_MAX = 5000
_CROSSOVER = 100
_LARGE = 10_000
# More containers than this are not made on the engine, but replayed.
_REAL_MAX = 1000
# (row of a warm and of a cold plan, their bars against Terraform and against Compose)
_SMALL_BARS = {"warm": ("1a", 0.12, 0.35), "cold": ("1b", 0.2, 0.6)}
_LARGE_BARS = {"warm": ("1c", 0.10, None), "cold": ("1c", 0.15, None)}
_CROSSOVER_BARS = {"warm": ("1d", None, 1.3)}


@dataclass(frozen=True, slots=True)
class Measured:
    """One size. ``terraform`` is how many resources it had; ``engine`` what was asked."""

    size: int
    results: dict[str, Samples]
    terraform: int
    engine: str


class PlanBench:
    """A fleet and everybody who plans it."""

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
        arguments = [str(self._fleet.repo / ".git"), str(self._socket), PLANE]
        return run_process([sys.executable, "-c", _FLOOR, *arguments], self._environ)[0]


def measure_plans(
    root: Path, rows: Collection[str], sizes: Collection[int], engine: str | None
) -> Iterator[Verdict]:
    """``sizes`` are instances; ``engine`` is the socket of a Docker engine, None for none."""
    wanted = [
        size for size in sizes if rows & {"1a", "1b", "1c"} and (size < _LARGE or "1c" in rows)
    ]
    if "1d" in rows:
        wanted.insert(0, _CROSSOVER)
    for size in dict.fromkeys(wanted):
        yield from _judge(_measure_size(root, size, engine))


def _measure_size(root: Path, size: int, engine: str | None) -> Measured:
    folder = root / f"plan-{size}"
    program, compose = find_terraform(), find_compose()
    peer = min(size, _TERRAFORM_MAX) if program and size != _CROSSOVER else 0
    with ExitStack() as stack:
        # A socket's path has at most 107 bytes.
        short = Path(tempfile.mkdtemp(prefix="ctrlplane-bench-"))
        stack.callback(shutil.rmtree, short)
        socket = short / "engine.sock"
        fleet = make_fleet(folder, size, f"{{type: docker, host: 'unix://{socket}'}}")
        bench = PlanBench(fleet, socket, root / "pyc")
        contenders: dict[str, Callable[[], Run]] = {"floor": best_of(3, bench.floor)}
        # The cold run leaves a cache behind, so a warm one may follow it.
        contenders |= {"warm": bench.warm, "cold": bench.cold}
        if program and peer:
            contenders["terraform"] = Terraform(program, folder / "terraform", peer).plan
        if engine and compose and size <= _REAL_MAX:
            stack.callback(remove_all, engine, PLANE)
            contenders["compose"] = _create_all(fleet, engine, compose)
            stack.enter_context(shown_as_running(socket, engine))
            text = "a real engine that holds them created, shown as running by a relay"
        else:
            stack.enter_context(engine_stub(socket, read_replicas(fleet)))
            if size >= _LARGE:
                contenders["tenth"] = stack.enter_context(_tenth(folder, size, short, root)).warm
            text = "a stub that replays a list, so the engine's own time is 0"
        return Measured(size, take_turns(contenders), peer, text)


@contextmanager
def _tenth(root: Path, size: int, short: Path, cache: Path) -> Iterator[PlanBench]:
    """A fleet of a tenth of the size before the same stub, to tell how a plan grows."""
    socket = short / "tenth.sock"
    fleet = make_fleet(root / "tenth", size // 10, f"{{type: docker, host: 'unix://{socket}'}}")
    with engine_stub(socket, read_replicas(fleet)):
        yield PlanBench(fleet, socket, cache / "pyc")


def _create_all(fleet: Fleet, engine: str, program: Path) -> Callable[[], Run]:
    """Have Compose create a container for every replica, labelled as ours: both look at the same
    containers. Its plan is a create that has nothing to do."""
    services = {
        replica.instance: {
            "image": IMAGE,
            "command": SLEEP,
            "network_mode": "none",
            "init": True,
            "labels": make_labels(replica),
        }
        for replica in read_replicas(fleet)
    }
    owner = {LABEL: PLANE}
    compose = Compose(program, fleet.root / "compose", engine, services, owner)
    compose.create()
    made = {row["Id"] for row in find_all(engine, PLANE)}
    assert len(made) == fleet.size, f"Compose made {len(made)} containers of {fleet.size}"

    def create() -> Run:
        run = compose.create()
        assert {row["Id"] for row in find_all(engine, PLANE)} == made
        return run

    return create


def _judge(measured: Measured) -> Iterator[Verdict]:
    """Bars are set against peers; against the floor there is only the figure."""
    size, results = measured.size, measured.results
    bars = _LARGE_BARS if size >= _LARGE else _SMALL_BARS
    bars = _CROSSOVER_BARS if size == _CROSSOVER else bars
    floor, drift = results["floor"], drift_of(results["floor"])
    about = f"floor {floor.wall_s:.3f} s ({floor.spread}), moved {drift:.2f}x; {measured.engine}"
    for name, (row, terraform_bar, compose_bar) in bars.items():
        ours, text = results[name], f"{name} plan of {size:,}"
        used = (
            f"{ours.wall_s:.3f} s ({ours.spread}), cpu {ours.cpu_s:.2f} s, {ours.peak_mib:.0f} MiB"
        )
        yield Verdict(
            row,
            f"{text} to the floor",
            median_ratio(ours.walls_s, floor.walls_s),
            note=f"{used}; {about}",
        )
        peers = {"terraform": (terraform_bar, measured.terraform), "compose": (compose_bar, size)}
        for peer, (bar, count) in peers.items():
            if bar is None:
                continue
            if peer not in results:
                yield Verdict(row, f"{text} to {peer}", note=f"{peer} is not present")
                continue
            other = results[peer]
            note = f"{peer} {other.wall_s:.3f} s ({other.spread}), {other.peak_mib:.0f} MiB"
            ratio = median_ratio(ours.walls_s, other.walls_s)
            yield Verdict(
                row, f"{text} to {peer} with {count:,}", ratio, bar, note=note, drift=drift
            )
    if "tenth" in results:
        growth = median_ratio(results["warm"].walls_s, results["tenth"].walls_s)
        text = f"warm plan of {size:,} to one of {size // 10:,}"
        yield Verdict("1c", text, growth, 11, note=measured.engine, drift=drift)
    if size != _CROSSOVER and "terraform" in results:
        ours, other = results["cold"].peak_mib, results["terraform"].peak_mib
        text = f"peak memory, cold plan of {size:,} to terraform's"
        yield Verdict("mem", text, ours / other, note=f"{ours:.0f} MiB to {other:.0f} MiB")
