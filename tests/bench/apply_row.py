"""Rows 3a and 3d: instances created, started and recorded, and the engine meanwhile."""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from ctrlplane_gitops.clock import monotonic_s, sleep
from tests.bench.fleet import PLANE
from tests.bench.measure import (
    COMMAND,
    Run,
    Samples,
    Verdict,
    drift_of,
    median_ratio,
    python_environ,
    run_process,
    take_turns,
)
from tests.bench.peer import Compose, find_compose
from tests.bench.raw import COMMAND as SLEEP
from tests.bench.raw import IMAGE, LABEL, RawEngine, find_all, labels_of, remove_all
from tests.source.repo import make_repo

_EVERY_S = 0.02
_WATCHED = f"{PLANE}-watched"
_HEAD = """\
apiVersion: ctrlplane.dev/v1
kind: ControlPlane
metadata: {{name: {plane}}}
spec: {{providers: {{here: {{type: docker, host: 'unix://{engine}'}}}}, defaultProvider: here}}
---
apiVersion: ctrlplane.dev/v1
kind: Tenant
metadata: {{name: raw}}
spec: {{}}
"""
_INSTANCE = """\
apiVersion: ctrlplane.dev/v1
kind: Instance
metadata: {{tenant: raw, name: {name}}}
spec: {{env: {{NUMBER: "{number}"}}}}
---
apiVersion: ctrlplane.dev/v1
kind: Deployment
metadata: {{tenant: raw, name: {name}}}
spec:
  instance: {name}
  image: {image}
  command: [{command}]
  strategy: {{type: rolling, minReady: 0s}}
"""


class ApplyBench:
    """Everybody who starts ``size`` containers: one network, no port, the same image, command and
    labels, ``init`` in each. ``p99s_ms`` are those of the list call, round by round."""

    def __init__(self, root: Path, engine: str, size: int) -> None:
        self._root = root
        self._engine = engine
        self._size = size
        self._environ = python_environ(
            {
                "PATH": "/usr/bin:/bin",
                "HOME": str(root),
                "CTRLPLANE_STATE_DIR": str(root / "state"),
                "CTRLPLANE_CACHE_DIR": str(root / "cache"),
            },
            root.parent / "pyc",
        )
        self.p99s_ms: dict[str, list[float]] = {}
        files = {"ctrlplane.yaml": _HEAD.format(plane=PLANE, engine=engine).encode()}
        command = ", ".join(f'"{part}"' for part in SLEEP)
        for number in range(size):
            name = f"i{number:05d}"
            text = _INSTANCE.format(name=name, number=number, image=IMAGE, command=command)
            files[f"{name}.yaml"] = text.encode()
        make_repo(root / "repo", files)

    def contenders(self, compose: Path | None) -> dict[str, Callable[[], Run]]:
        found: dict[str, Callable[[], Run]] = {
            "raw 4": lambda: self._measure("raw 4", lambda: self._raw(4)),
            "ours": lambda: self._measure("ours", self._ours),
            "raw 8": lambda: self._measure("raw 8", lambda: self._raw(8)),
        }
        if compose is not None:
            names = [f"i{number:05d}" for number in range(self._size)]
            services = {
                name: {
                    "image": IMAGE,
                    "command": SLEEP,
                    "init": True,
                    "environment": {"NUMBER": str(number)},
                    "labels": labels_of(PLANE, name),
                }
                for number, name in enumerate(names)
            }
            labels = {LABEL: PLANE}
            project = Compose(compose, self._root / "compose", self._engine, services, labels)
            found["compose"] = lambda: self._measure("compose", project.up)
        return found

    def _raw(self, threads: int) -> Run:
        command = [sys.executable, "-m", "tests.bench.raw", self._engine, PLANE]
        return run_process([*command, str(self._size), str(threads)], self._environ)[0]

    def _ours(self) -> Run:
        for folder in ("state", "cache"):
            shutil.rmtree(self._root / folder, ignore_errors=True)
        arguments = ["--chdir", str(self._root / "repo"), "apply", "--ref", "main", "-y"]
        return run_process([*COMMAND, *arguments], self._environ)[0]

    def _measure(self, name: str, contender: Callable[[], Run]) -> Run:
        """Its run, while the engine is asked for one container all the time; then everything is
        removed again."""
        try:
            with _watching(self._engine) as times:
                run = contender()
            states = [row["State"] for row in find_all(self._engine, PLANE)]
            assert states == ["running"] * self._size, f"{name}: {len(states)} containers"
        finally:
            remove_all(self._engine, PLANE)
        self.p99s_ms.setdefault(name, []).append(sorted(times)[int(len(times) * 0.99)] * 1000)
        return run


def measure_apply(
    root: Path, sizes: Collection[int], engine: str | None, rounds: int
) -> Iterator[Verdict]:
    """``engine`` is the socket of a Docker engine, None for none."""
    if engine is None:
        yield Verdict("3a", "apply", note="no Docker engine answers")
        return
    compose = find_compose()
    with _one_to_watch(engine):
        for size in sizes:
            folder = root / f"apply-{size}"
            folder.mkdir()
            bench = ApplyBench(folder, engine, size)
            results = take_turns(bench.contenders(compose), rounds)
            yield from _judge(size, bench, results)


def _judge(size: int, bench: ApplyBench, results: dict[str, Samples]) -> Iterator[Verdict]:
    ours, drift = results["ours"], drift_of(results["raw 8"])
    best = min((results["raw 4"], results["raw 8"]), key=lambda found: found.wall_s)
    text = f"apply of {size} instances"
    note = f"{ours.wall_s:.2f} s ({ours.spread}), {size / ours.wall_s:.1f}/s, "
    note += (
        f"cpu {ours.cpu_s:.2f} s, {ours.peak_mib:.0f} MiB; raw 4 {results['raw 4'].wall_s:.2f} s"
    )
    note += f", raw 8 {results['raw 8'].wall_s:.2f} s ({results['raw 8'].spread})"
    note += f", moved {drift:.2f}x; each in a bridge network, no ports"
    ratio = median_ratio(ours.walls_s, best.walls_s)
    yield Verdict("3a", f"{text} to the best raw client", ratio, 1 / 0.88, note=note, drift=drift)
    p99s = {
        name: Samples([Run(ms, 0, 0) for ms in found[1:]]) for name, found in bench.p99s_ms.items()
    }
    note = "; ".join(
        f"{name} {found.wall_s:.0f} ms ({found.spread})" for name, found in p99s.items()
    )
    if "compose" not in results:
        yield Verdict("3a", f"{text} to Compose's up", note="compose is not present")
        yield Verdict("3d", f"list p99 during it to Compose's; {note}")
        return
    other = results["compose"]
    about = f"compose {other.wall_s:.2f} s ({other.spread}), {other.peak_mib:.0f} MiB"
    # No bar: the engine itself is no faster, except for who makes everybody else wait (3d).
    about += f"; the best raw client to it {median_ratio(best.walls_s, other.walls_s):.2f}"
    ratio = median_ratio(ours.walls_s, other.walls_s)
    yield Verdict("3a", f"{text} to Compose's up", ratio, note=about)
    ratio = p99s["ours"].wall_s / p99s["compose"].wall_s
    yield Verdict("3d", "p99 of a list meanwhile to Compose's", ratio, 0.7, note=note, drift=drift)


@contextmanager
def _one_to_watch(engine: str) -> Iterator[None]:
    body = {"Image": IMAGE, "Cmd": SLEEP, "HostConfig": {"NetworkMode": "none"}}
    made = RawEngine(engine).ask("POST", f"/containers/create?name={_WATCHED}", body)
    try:
        yield
    finally:
        # A connection that was idle for minutes would be closed by now.
        RawEngine(engine).ask("DELETE", f"/containers/{made['Id']}?force=1&v=1")


@contextmanager
def _watching(engine: str) -> Iterator[list[float]]:
    """Seconds each list of one container takes, asked every 20 ms, or at once where the last one
    took longer."""
    found: list[float] = []
    is_over = threading.Event()

    def watch() -> None:
        client = RawEngine(engine)
        target = "/containers/json?all=1&filters=%7B%22name%22%3A%5B%22" + _WATCHED + "%22%5D%7D"
        due = monotonic_s()
        while not is_over.is_set():
            began = monotonic_s()
            client.ask("GET", target)
            found.append(monotonic_s() - began)
            due = max(due + _EVERY_S, monotonic_s())
            sleep(max(0.0, due - monotonic_s()))
        client.close()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        is_over.set()
        thread.join()
