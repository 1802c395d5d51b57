"""``python -m tests.bench [--rows 1a,8] [--sizes 1000]``: measure, and hold against the bars.

Nothing here may be read without its ratio: absolute figures belong to the machine and the moment.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from tests.bench.apply_row import measure_apply
from tests.bench.cluster_row import measure_cluster
from tests.bench.health_row import measure_health
from tests.bench.hook_row import measure_hooks, measure_storm
from tests.bench.journal_row import measure_journal
from tests.bench.measure import ROUNDS, Verdict
from tests.bench.memory_row import measure_memory
from tests.bench.page_row import measure_pages
from tests.bench.peer import find_compose, find_terraform, version_of
from tests.bench.plan_row import measure_plans
from tests.bench.raw import RawEngine
from tests.bench.start_row import measure_start
from tests.bench.traffic_row import Plan, measure_traffic
from tests.bench.usage_row import measure_usage
from tests.bench.warm_row import measure_warm
from tests.engines.dockerd import DEFAULT_HOST, connect
from tests.engines.image import build_images
from tests.engines.ping import is_answering

ROWS = (
    "1a", "1b", "1c", "1d", "2", "3a", "3d", "4a", "4b", "4c", "5", "6", "7a", "7b", "7c", "8", "9",
    "7p", "storm", "10a", "10b", "10c",
)  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--rows", default=",".join(ROWS), help=f"of {','.join(ROWS)}")
    parser.add_argument("--sizes", default="1000,10000", help="instances, for the rows 1 and 2")
    parser.add_argument("--memory-sizes", default="10000,100000", help="instances, for row 6")
    parser.add_argument("--hook-size", default=10_000, type=int, help="instances, for the rows 4")
    parser.add_argument("--apply-sizes", default="100", help="instances, for the rows 3a and 3d")
    parser.add_argument("--apply-rounds", default=ROUNDS, type=int, help="of the rows 3a, 3d, 10c")
    parser.add_argument("--deployments", default=1000, type=int, help="of the rows 10a and 10b")
    parser.add_argument("--applied", default=300, type=int, help="Deployments of the row 10c")
    parser.add_argument("--containers", default=300, type=int, help="of the row 7c")
    plan = Plan()
    parser.add_argument("--traffic", default=plan.only, help="engine/router/strategy, for row 5")
    parser.add_argument("--rollouts", default=plan.rollouts, type=int, help="each, for row 5")
    parser.add_argument("--rate", default=plan.rate, type=float, help="requests/s, for row 5")
    given = parser.parse_args()
    rows = set(given.rows.split(","))
    unknown = rows - set(ROWS)
    if unknown:
        parser.error(f"no such row: {', '.join(sorted(unknown))}")
    engine = _find_engine()
    _print_machine(engine)
    root = Path(tempfile.mkdtemp(prefix="ctrlplane-bench-"))
    verdicts = []
    try:
        for verdict in _measure(root, rows, given, engine):
            verdicts.append(verdict)
            _print(verdict)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    count = Counter(verdict.word for verdict in verdicts)
    print(
        f"\n{count['pass']} bars hold, {count['FAIL']} do not, {count['noisy']} could not be told "
        f"because the machine's own control moved; {count['skipped']} rows skipped; "
        f"load {os.getloadavg()[0]:.1f} after"
    )
    return 1 if count["FAIL"] or count["noisy"] else 0


def _measure(
    root: Path, rows: set[str], given: argparse.Namespace, engine: str | None
) -> Iterator[Verdict]:
    sizes = [int(size) for size in given.sizes.split(",")]
    if "8" in rows:
        yield from measure_start(root)
    if "9" in rows:
        yield from measure_journal(root)
    if rows & {"7a", "7b"}:
        yield from measure_health(root, rows)
    if "7c" in rows:
        yield from measure_usage(root, engine, given.containers)
    if "2" in rows:
        yield from measure_warm(root, sizes)
    if "6" in rows:
        yield from measure_memory(root, [int(size) for size in given.memory_sizes.split(",")])
    if rows & {"4a", "4b", "4c"}:
        yield from measure_hooks(root, rows, given.hook_size)
    if "storm" in rows:
        yield from measure_storm(root, 100)
    if "5" in rows:
        plan = Plan(given.rollouts, given.rate, only=given.traffic)
        yield from measure_traffic(root, engine, plan)
    if rows & {"3a", "3d"}:
        counts = [int(size) for size in given.apply_sizes.split(",")]
        yield from measure_apply(root, counts, engine, given.apply_rounds)
    if rows & {"10a", "10b", "10c"}:
        yield from measure_cluster(root, rows, given.deployments, given.applied, given.apply_rounds)
    if "7p" in rows:
        yield from measure_pages(root, sizes)
    if rows & {"1a", "1b", "1c", "1d"}:
        yield from measure_plans(root, rows, sizes, engine)


def _find_engine() -> str | None:
    """The socket of a Docker engine on this machine, with the test image on it."""
    host = os.environ.get("DOCKER_HOST") or DEFAULT_HOST
    if not host.startswith("unix://") or not is_answering(host):
        return None
    with closing(connect(host)) as client:
        build_images(client)
    return host.removeprefix("unix://")


def _print_machine(engine: str | None) -> None:
    git = subprocess.run(["git", "--version"], capture_output=True, text=True, check=True)
    said = [f"Python {platform.python_version()}", git.stdout.strip()]
    if engine:
        version = RawEngine(engine).ask("GET", "/version")
        held = len(RawEngine(engine).ask("GET", "/containers/json?all=1"))
        said.append(f"Docker {version['Version']} with {held} other containers")
    said += [version_of(program) for program in (find_compose(), find_terraform()) if program]
    print(", ".join(said), f"\n{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before")


def _print(verdict: Verdict) -> None:
    figure = "" if verdict.value is None else f"{verdict.value:.2f} {verdict.unit}"
    bar = "" if verdict.bar is None else f"<= {verdict.bar:g}"
    line = f"{verdict.row:<3} {verdict.text:<62} {figure:>10} {bar:>8} {verdict.word:<7}"
    print(f"{line} {verdict.note}".rstrip(), flush=True)


if __name__ == "__main__":
    sys.exit(main())
