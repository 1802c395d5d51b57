"""Rows 4a to 4c: webhooks, from a request to the provider; and a storm of them."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from statistics import quantiles
from typing import Any

from ctrlplane_gitops.clock import monotonic_s, sleep
from tests.bench.fleet import Fleet, make_fleet, read_replicas
from tests.bench.hook_client import SECRET, HookClient, Order
from tests.bench.measure import (
    Run,
    Samples,
    Verdict,
    drift_of,
    python_environ,
    run_process,
    take_turns,
)
from tests.bench.stub import engine_stub
from tests.source.repo import git

_COUNT = 4000
_ROUNDS = 5
_PUSHES = 1000
_TENANT = "tenants/t000/tenant.yaml"
# What changes is said of a tenant, and nothing is done to any replica: the engine is a stub.
_NAME = "apiVersion: ctrlplane.dev/v1\nkind: Tenant\nmetadata: {{name: t000}}\n{}"
_SPEC = "spec: {{displayName: Customer {}}}\n"


class HookBench:
    """A ``serve`` that follows ``origin`` over a stub, which writes down when it is looked at."""

    def __init__(self, fleet: Fleet, origin: Path, looks: Path, url: str, pid: int) -> None:
        self.fleet, self.origin, self.looks, self.url, self.pid = fleet, origin, looks, url, pid

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:
            text = answer.read().decode()
        return json.loads(text) if path.startswith("/api") else text

    def figure(self, name: str) -> float:
        """The sum of the samples of a name."""
        rows = (line for line in self.get("/metrics").splitlines() if line.startswith(name))
        return sum(float(line.rsplit(" ", 1)[1]) for line in rows)

    def passes(self) -> float:
        return self.figure("ctrlplane_pass_duration_seconds_count")

    def outcomes(self, after: int = 0) -> dict[str, int]:
        """How many deliveries have which outcome, of those whose number is above ``after``."""
        return dict(
            self._query(
                "SELECT outcome, sum(count) FROM deliveries WHERE sender = 'github' "
                f"AND number > {after} GROUP BY 1"
            )
        )

    def last(self) -> int:
        """The number of the last row."""
        found: int = self._query("SELECT max(number) FROM deliveries")[0][0]
        return found

    def wait_ended(self, count: int, after: int) -> dict[str, int]:
        deadline = monotonic_s() + 60
        while True:
            rows = self.outcomes(after)
            if "accepted" not in rows and sum(rows.values()) >= count:
                return rows
            if monotonic_s() > deadline:
                raise RuntimeError(f"deliveries do not end: {rows}")
            sleep(0.05)

    def _query(self, statement: str) -> list[Any]:
        [path] = (self.fleet.root / "state").glob("*/state.db")
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as connection:
            return connection.execute(statement).fetchall()


def measure_hooks(root: Path, rows: Collection[str], size: int) -> Iterator[Verdict]:
    with _serving(root, size, "--interval", "1h") as bench:
        client = HookClient(bench.url)
        try:
            if "4a" in rows:
                yield from _measure_accept(bench, client)
            if "4b" in rows:
                yield from _measure_latency(bench, client)
            if "4c" in rows:
                yield from _measure_burst(bench, client)
        finally:
            client.close()
    if "4a" in rows:
        yield from _measure_busy(root, size)


def _measure_accept(bench: HookBench, client: HookClient) -> Iterator[Verdict]:
    """Whatever each of them takes in turn, over as many connections."""
    order = Order(_COUNT, commits=[git(bench.origin, "rev-parse", "main")])

    def deliver(name: str, sender: HookClient, pid: int) -> Run:
        before = _cpu_s(pid)
        made = sender.send(order)
        if set(made.statuses) - {"200", "202"}:
            raise RuntimeError(f"{name} answered {made.statuses}")
        return Run(made.took_s, _cpu_s(pid) - before, 0.0)

    with _empty() as (url, pid):
        other = HookClient(url)
        try:
            results = take_turns(
                {
                    "empty": lambda: deliver("empty", other, pid),
                    "ours": lambda: deliver("ours", client, bench.pid),
                },
                _ROUNDS,
            )
        finally:
            other.close()
    ours, empty = results["ours"].wall_s, results["empty"].wall_s
    note = f"{_COUNT / ours:.0f}/s ({results['ours'].spread}s), "
    note += f"empty {_COUNT / empty:.0f}/s ({results['empty'].spread}s)"
    drift = drift_of(results["empty"], 2)
    text = "webhook accepted, to an empty route"
    yield Verdict("4a", text, ours / empty, 1 / 0.6, note=note, drift=drift)
    used = [results[name].cpu_s / _COUNT * 1000 for name in ("ours", "empty")]
    note = f"{used[0]:.2f} ms, empty {used[1]:.2f} ms"
    yield Verdict("4a", "the same in processor time", used[0] / used[1], note=note)


def _measure_busy(root: Path, size: int) -> Iterator[Verdict]:
    """Replies at 300/s while one pass over everything follows another."""
    with _serving(root, size, "--interval", "1s") as bench:
        client = HookClient(bench.url)
        with _empty() as (url, _):
            other = HookClient(url)
            try:
                before, head = bench.passes(), git(bench.origin, "rev-parse", "main")
                other.begin(Order(750, 16, rate=75))
                told = client.send(Order(3000, 16, rate=300, commits=[head]))
                control = other.end()
                passes = bench.passes() - before
            finally:
                client.close()
                other.close()
    note = f"p50 {told.p50_s * 1000:.1f} ms, worst {told.worst_s * 1000:.0f} ms, "
    note += f"{passes:.0f} passes over {size:,} meanwhile, {told.statuses}, "
    note += f"p99 of an empty route in another process at 75/s {control.p99_s * 1000:.0f} ms"
    text = f"p99 of replies at 300/s while {size:,} are reconciled"
    yield Verdict("4a", text, told.p99_s * 1000, 25, "ms", note)


def _measure_latency(bench: HookBench, client: HookClient) -> Iterator[Verdict]:
    """The commit is there when the delivery is sent; the control fetches the same one."""
    control = bench.fleet.root / "control.git"
    git(bench.fleet.root, "clone", "-q", "--bare", str(bench.origin), str(control))
    fetches, ours = Samples(), []
    fetch = ["git", f"--git-dir={control}", "fetch", "-q", "origin", "+refs/heads/*:refs/heads/*"]
    for turn in range(21):
        # Deliveries that are close together share a look.
        sleep(1.2)
        [commit] = _commit(bench, [f"4b {turn}"])
        git(bench.fleet.repo, "push", "-q", "origin", "main")
        fetched = run_process(fetch, bench.fleet.environ)[0]
        told = client.send(Order(1, 1, commits=[commit]))
        looked = _wait_look(bench.looks, told.began)
        if turn:
            fetches.runs.append(fetched)
            ours.append(looked - told.began)
    cuts = quantiles(ours, n=20)
    middle, late, bare = cuts[9], cuts[18], fetches.wall_s
    note = f"{middle * 1000:.0f} ms, fetch {bare * 1000:.0f} ms ({fetches.spread}s)"
    drift = drift_of(fetches, 5)
    yield Verdict("4b", "webhook to the first provider call, p50 to a fetch", middle / bare, 3,
                  note=note, drift=drift)  # fmt: skip
    yield Verdict("4b", "the same, p95 to a fetch", late / bare, 5,
                  note=f"{late * 1000:.0f} ms", drift=drift)  # fmt: skip


def _measure_burst(bench: HookBench, client: HookClient) -> Iterator[Verdict]:
    bench.wait_ended(0, 0)
    known = bench.last()
    commits = _commit(bench, [f"4c {number}" for number in range(_PUSHES)])
    # The objects are there before; what moves is the ref.
    git(bench.fleet.repo, "push", "-q", "origin", "main:refs/heads/ahead")
    before = bench.passes()
    ref = str(bench.origin / "refs/heads/main")
    told = client.send(Order(_PUSHES, 8, rate=_PUSHES, commits=commits, ref=ref))
    ended = bench.wait_ended(_PUSHES, known)
    passes = bench.passes() - before
    served = f'commit="{commits[-1]}"' in bench.get("/metrics")
    note = f"in {told.took_s:.2f} s, answered {told.statuses}, outcomes {ended}"
    yield Verdict("4c", f"{_PUSHES:,} pushes in a second, passes", passes, 3, "", note)
    lost = _PUSHES - told.statuses.get("202", 0) + (not served)
    yield Verdict("4c", "pushes lost, or another state than the last one's", lost, 0, "")


def measure_storm(root: Path, size: int) -> Iterator[Verdict]:
    """A thousand deliveries a second for ten seconds."""
    with _serving(root, size, "--interval", "1h") as bench:
        client = HookClient(bench.url)
        try:
            before, head = bench.passes(), git(bench.origin, "rev-parse", "main")
            known = bench.last()
            client.begin(Order(10_000, 32, rate=1000, commits=[head]))
            most = _watch(bench, 9)
            told = client.end()
        finally:
            client.close()
        ended = bench.wait_ended(10_000, known)
        passes = bench.passes() - before
    bad = sum(count for status, count in told.statuses.items() if status not in ("200", "202"))
    note = f"{told.per_second:.0f}/s, p50 {told.p50_s * 1000:.1f} ms, p99 "
    note += f"{told.p99_s * 1000:.0f} ms, {passes:.0f} passes, outcomes {ended}"
    yield Verdict("storm", "1,000 deliveries/s for 10 s, not answered with 2xx", bad, 0, "", note)
    yield Verdict("storm", "passes at a time meanwhile, at most", most, 1, "")


def _watch(bench: HookBench, seconds: float) -> int:
    """How many passes were under way at once, at most, as the workers' list says."""
    deadline, most = monotonic_s() + seconds, 0
    while monotonic_s() < deadline:
        rows = bench.get("/api/v1/workers")["items"]
        most = max(most, sum(row["name"] == "reconciler" and row["is_running"] for row in rows))
        sleep(0.1)
    return most


def _commit(bench: HookBench, names: Sequence[str]) -> list[str]:
    """A commit for each name, in the work tree, on top of one another; their ids."""
    repo, parent = bench.fleet.repo, git(bench.fleet.repo, "rev-parse", "main")
    lines = []
    for name in names:
        text = _NAME.format(_SPEC.format(name))
        lines.append(
            f"commit refs/heads/main\ncommitter a <a@example.com> 1700000000 +0000\n"
            f"data 0\n{'' if lines else f'from {parent}{chr(10)}'}"
            f"M 100644 inline {_TENANT}\ndata {len(text)}\n{text}\n"
        )
    subprocess.run(
        ["git", "-C", str(repo), "fast-import", "--quiet", "--force"],
        input="".join(lines), text=True, check=True,
    )  # fmt: skip
    found = git(repo, "rev-list", "--reverse", f"{parent}..main").split()
    assert len(found) == len(names)
    git(repo, "reset", "-q", "--hard")
    return found


def _wait_look(looks: Path, after: float) -> float:
    """When the stub was looked at first after this time."""
    deadline = monotonic_s() + 20
    while monotonic_s() < deadline:
        times = [float(line) for line in looks.read_text().split("\n")[:-1]]
        later = [at for at in times if at > after]
        if later:
            return later[0]
        sleep(0.001)
    raise RuntimeError("the provider was never looked at")


@contextmanager
def _empty() -> Iterator[tuple[str, int]]:
    """Its URL and its process."""
    command = [sys.executable, "-m", "tests.bench.empty_hook"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip(), process.pid
        assert process.stdin is not None
        process.stdin.close()


@contextmanager
def _serving(root: Path, size: int, *arguments: str) -> Iterator[HookBench]:
    """After its first pass."""
    folder = Path(tempfile.mkdtemp(prefix="hooks-", dir=root))
    # A socket's path has at most 107 bytes.
    short = Path(tempfile.mkdtemp(prefix="ctrlplane-bench-"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, short)
        fleet = make_fleet(folder / "f", size, f"{{type: docker, host: 'unix://{short}/s'}}")
        origin, looks = folder / "origin.git", folder / "looks"
        git(folder, "clone", "-q", "--bare", str(fleet.repo), str(origin))
        git(origin, "repack", "-a", "-d", "-q")
        git(fleet.repo, "remote", "add", "origin", str(origin))
        looks.touch()
        stack.enter_context(engine_stub(short / "s", read_replicas(fleet), looks))
        environ = {
            **python_environ(fleet.environ, root / "pyc"),
            "CTRLPLANE_WEBHOOK_SECRET": SECRET,
        }
        command = [sys.executable, "-m", "ctrlplane_gitops", "serve", "--listen", "127.0.0.1:0"]
        command += ["--source", f"file://{origin}", "--ref", "main", "--poll", "1h", *arguments]
        # The stub has nothing to measure, and would be asked for each of them.
        command += ["--telemetry-interval", "1h", "--health-interval", "1h"]
        log = stack.enter_context((folder / "log").open("w"))
        process = stack.enter_context(subprocess.Popen(command, env=environ, stderr=log))
        stack.callback(process.terminate)
        url = _read_url(process, folder / "log")
        yield HookBench(fleet, origin, looks, url, process.pid)


def _cpu_s(pid: int) -> float:
    """Processor time of a process that lives, without its children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _read_url(process: subprocess.Popen[bytes], log: Path) -> str:
    """Where it answers, once its first pass has ended."""
    while process.poll() is None:
        lines = log.read_text().splitlines()
        if any(" pass " in line for line in lines):
            return next(line for line in lines if "listening on" in line).split()[-1]
        sleep(0.05)
    raise RuntimeError(f"serve has ended: {log.read_text()[-600:]}")
