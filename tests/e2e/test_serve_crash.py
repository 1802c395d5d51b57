"""SIGKILL of ``serve`` in the middle of what it does: the next one comes to the same end."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.bench.fleet import PLANE, Fleet, instance_file, make_fleet
from tests.e2e.crash_kit import MEMORY, PROCESS, CrashWorld, Runtime, app, tenant
from tests.e2e.plane import wait_until
from tests.e2e.serve_kit import fetch
from tests.source.repo import commit, write

BOTH = tenant("acme") + tenant("zen")
ARGUMENTS = ("serve", "--listen", "127.0.0.1:0", "--poll", "1h", "--interval", "1h")
# Where it is killed on processes, which take their time: at each of the first few, then seldom.
PROCESS_MOMENTS = (1, 2, 3, 5, 8, 12)


def specs(runtime: Runtime, version: str, other: str) -> str:
    return BOTH + app(runtime, "acme", 2, version) + app(runtime, "zen", 1, other)


@contextmanager
def serving(world: CrashWorld) -> Iterator[None]:
    """In a child of its own, stopped with the block as a service is stopped."""
    child = os.fork()
    if child == 0:
        code = 70
        try:
            code = world.run(*ARGUMENTS)
        finally:
            os._exit(code)
    try:
        yield
    finally:
        os.kill(child, signal.SIGTERM)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0


def end_of(world: CrashWorld, runtime: Runtime, number: int) -> list[object]:
    """What an undisturbed apply comes to."""
    world.write(specs(runtime, f"new-{number}", f"next-{number}"))
    assert world.run("apply", "-y") == 0, world.errors
    return world.look()


def count_effects(world: CrashWorld, runtime: Runtime) -> int:
    world.write(specs(runtime, "old", "old"))
    assert world.run("apply", "-y") == 0, world.errors
    world.write(specs(runtime, "new", "new"))
    return len(world.run_told("apply", "-y")[1])


def sweep(world: CrashWorld, runtime: Runtime, moments: range | tuple[int, ...]) -> int:
    """How many of the kills landed; after each the next ``serve`` makes it good."""
    landed = 0
    for number in moments:
        end_of(world, runtime, -number)
        expected = [row[:2] for row in world.look()]
        world.write(specs(runtime, f"new-{number}", f"next-{number}"))
        landed += world.run_killed(number, *ARGUMENTS)
        with serving(world):
            wait_until(partial(is_settled, world, expected), 30)
        assert world.run("plan", "--detailed-exitcode") == 0, world.output
    return landed


def is_settled(world: CrashWorld, expected: list[object]) -> bool:
    rows = world.look()
    is_done = all(row[3]["ready"] == row[3]["desired"] for row in rows)
    if not is_done or [row[:2] for row in rows] != expected:
        return False
    return world.run("plan", "--detailed-exitcode") == 0


def test_memory_at_every_effect(tmp_path: Path) -> None:
    world = CrashWorld(tmp_path, MEMORY)
    count = count_effects(world, MEMORY)
    landed = sweep(world, MEMORY, range(1, count + 1))
    print(f"serve killed at {landed}/{count} effects on memory, {count} of {count} made good")
    assert landed == count


def test_processes_at_some_effects(tmp_path: Path) -> None:
    world = CrashWorld(tmp_path, PROCESS)
    try:
        assert sweep(world, PROCESS, PROCESS_MOMENTS) == len(PROCESS_MOMENTS)
    finally:
        assert world.run("destroy", "-y") == 0, world.errors


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return make_fleet(tmp_path, 1000)


class Child:
    """A ``serve`` over a fleet."""

    def __init__(self, fleet: Fleet) -> None:
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ctrlplane_gitops", "--repo", str(fleet.repo), "--ref", "main",
             *ARGUMENTS],
            env=dict(fleet.environ), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.url = ""
        assert self.process.stderr is not None
        while not self.url:
            line = self.process.stderr.readline()
            assert line, "serve has ended"
            self.url = line.split()[-1] if "listening on" in line else ""

    def wait_ready(self) -> float:
        """Seconds from its start."""
        wait_until(lambda: fetch(f"{self.url}/readyz")[0] == 200, 60)
        return time.monotonic() - self.began

    def end(self, number: signal.Signals) -> None:
        self.process.send_signal(number)
        self.process.communicate()


def test_a_thousand_instances_are_taken_up_again_and_again(fleet: Fleet) -> None:
    moved, waits = range(60), []
    for round_ in range(2, 6):
        files = {fleet.path_of(n): instance_file(n, f"{round_}") for n in moved}
        write(fleet.repo, files)
        commit(fleet.repo)
        child = Child(fleet)
        waits.append(child.wait_ready())
        time.sleep(random.random())
        child.end(signal.SIGKILL)
    child = Child(fleet)
    waits.append(child.wait_ready())
    try:
        wait_until(lambda: status_of(child) == (1000, 1000), 120)
    finally:
        child.end(signal.SIGTERM)
    print(f"ready after {', '.join(f'{wait:.1f}' for wait in waits)} s with 1,000 instances")
    plan = subprocess.run(
        [sys.executable, "-m", "ctrlplane_gitops", "--repo", str(fleet.repo), "--ref", "main",
         "plan", "--detailed-exitcode"], env=dict(fleet.environ), capture_output=True, text=True,
    )  # fmt: skip
    assert plan.returncode == 0, plan.stdout[-2000:]
    assert PLANE in plan.stdout


def status_of(child: Child) -> tuple[int, int]:
    """Instances, and those that are as they should be."""
    status = fetch(f"{child.url}/api/v1/status")[1]
    rows = status["instances"] if isinstance(status, dict) and "instances" in status else []
    is_well = [row["replicas"]["ready"] == row["replicas"]["desired"] for row in rows]
    phases = [row["phase"] == "running" for row in rows]
    return len(rows), sum(a and b for a, b in zip(is_well, phases, strict=True))
