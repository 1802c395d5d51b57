"""Rows 10a to 10c: what it takes to look at a cluster of Kubernetes, to leave it alone, to fill it.

An API server with all that belongs to it, whose nodes only say that pods run; whoever asks it has
the rights that we ship.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ctrlplane_gitops.clock import monotonic_s
from ctrlplane_gitops.providers.kubernetes import manifest
from ctrlplane_gitops.state.action import ScaleReplicaSet
from ctrlplane_gitops.state.key import instance_key
from ctrlplane_gitops.state.template import Port, Release, ReleaseTemplate
from tests.bench.cluster import LABEL, THREADS, await_done, is_available
from tests.bench.measure import (
    COMMAND,
    ROUNDS,
    Run,
    Samples,
    Verdict,
    drift_of,
    median_ratio,
    python_environ,
    run_process,
    take_turns,
)
from tests.engines.program import MissingEngineError
from tests.kubernetes.rig import Rig, rig
from tests.kubernetes.role import role_kubeconfig

TENANTS = 10
IMAGE = "app:1"
_HEADER = "apiVersion: ctrlplane.dev/v1\n"
_PLANE = """\
kind: ControlPlane
metadata: {{name: {plane}}}
spec: {{providers: {{here: {{type: kubernetes}}}}, defaultProvider: here}}
"""
_TENANT = "kind: Tenant\nmetadata: {{name: {tenant}}}\nspec: {{}}\n"
_INSTANCE = """\
kind: Instance
metadata: {{tenant: {tenant}, name: {name}}}
spec: {{ports: [{{name: http, port: 8080}}], env: {{NUMBER: "{number}"}}}}
"""
_DEPLOYMENT = """\
kind: Deployment
metadata: {{tenant: {tenant}, name: {name}}}
spec: {{instance: {name}, image: '{image}', strategy: {{type: rolling, minReady: 0s}}}}
"""
# What the contenders write is told by the server.
_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {
            "level": "Metadata",
            "users": ["shipped-role"],
            "verbs": ["create", "update", "patch", "delete", "deletecollection"],
        },
        {"level": "None"},
    ],
}


class ClusterBench:
    """Everybody who asks one API server for something. ``calls`` are those that a contender says
    it made, or the server says it was written to; ``counts`` the Deployments it has seen."""

    def __init__(self, root: Path, cluster: Rig) -> None:
        self._root = root
        self._cluster = cluster
        self._kubeconfig = role_kubeconfig(cluster)
        self._audit = root / "audit.log"
        self._planes = 0
        self.calls: dict[str, int] = {}
        self.counts: dict[str, int] = {}
        self.looks_s: tuple[float, float] = (0.0, 0.0)
        environ = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(root),
            "CTRLPLANE_KUBECONFIG": str(self._kubeconfig),
            "CTRLPLANE_STATE_DIR": str(root / "state"),
            "CTRLPLANE_CACHE_DIR": str(root / "cache"),
        }
        self._environ = python_environ(environ, root / "pyc")

    def watch_writes(self) -> None:
        policy = self._root / "policy.json"
        policy.write_text(json.dumps(_POLICY))
        self._cluster.kill_api()
        self._cluster.start_api(f"--audit-policy-file={policy}", f"--audit-log-path={self._audit}")

    def fill(self, size: int) -> str:
        """The plane that stands after an apply of so many instances."""
        self._planes += 1
        plane = f"bench-{self._planes}"
        write_repo(self._root / plane, plane, size)
        before = self._count_writes()
        self._run_ours(plane, "apply", "-y")
        assert self._count_writes() - before >= 3 * size, "the server does not tell of writes"
        self._await_available(plane, size)
        return plane

    def ours(self, size: int) -> Run:
        """From nothing until the last Deployment is Available, which a command that has seen every
        pod ready hardly waits for."""
        return self._measure(lambda plane: self._apply_ours(plane, size), size)

    def bare(self, size: int) -> Run:
        return self._measure(lambda plane: self._apply_bare(plane, size), size)

    def _measure(self, contender: Callable[[str], Run], size: int) -> Run:
        self._planes += 1
        plane = f"bench-{self._planes}"
        try:
            run = contender(plane)
            began = monotonic_s()
            self._await_available(plane, size)
            return Run(run.wall_s + monotonic_s() - began, run.cpu_s, run.peak_mib)
        finally:
            self.remove(plane)

    def _apply_ours(self, plane: str, size: int) -> Run:
        write_repo(self._root / plane, plane, size)
        return self._run_ours(plane, "apply", "-y")[0]

    def _apply_bare(self, plane: str, size: int) -> Run:
        path = self._root / f"{plane}.json"
        path.write_text(json.dumps(build_objects(plane, size)))
        return self._run_bare("apply", path, THREADS)

    def _run_ours(self, plane: str, *arguments: str) -> tuple[Run, str]:
        return run_process(
            [*COMMAND, "--chdir", str(self._root / plane), *arguments], self._environ
        )

    def _run_bare(self, verb: str, *arguments: object) -> Run:
        command = [sys.executable, "-m", "tests.bench.cluster", verb, str(self._kubeconfig)]
        run, output = run_process([*command, *map(str, arguments)], self._environ)
        answer = json.loads(output)
        self.calls[verb], self.counts[verb] = answer["calls"], answer["counts"][0]
        if verb == "watch":
            self.looks_s = answer["listed_s"], answer["watched_s"]
        return run

    def look(self, plane: str) -> Run:
        return self._run_bare("look", plane)

    def watch(self, plane: str) -> Run:
        """Many looks of one process; ``looks_s`` is how long one takes that lists, and one that is
        told what changes."""
        return self._run_bare("watch", plane)

    def list(self, plane: str) -> Run:
        return self._run_bare("list", plane)

    def plan(self, plane: str) -> Run:
        run, output = self._run_ours(plane, "plan")
        assert "No changes." in output, output[-600:]
        return run

    def leave_alone(self, plane: str) -> Run:
        """A pass that finds nothing to do, and how much was written for it."""
        before = self._count_writes()
        run, output = self._run_ours(plane, "apply", "-y")
        assert "No changes." in output, output[-600:]
        self.calls["pass"] = self.calls.get("pass", 0) + self._count_writes() - before
        return run

    def _count_writes(self) -> int:
        return len(self._audit.read_bytes().splitlines())

    def _deployments(self, plane: str) -> list[dict[str, Any]]:
        return self._cluster.client.list("Deployment", labelSelector=f"{LABEL}={plane}")

    def _await_available(self, plane: str, size: int) -> None:
        def is_done() -> bool:
            return sum(map(is_available, self._deployments(plane))) == size

        await_done(f"{size} Deployments to be Available", is_done, 0.05)

    def remove(self, plane: str) -> None:
        """Its namespaces with all that is in them, until they are gone."""
        client, labels = self._cluster.client, f"{LABEL}={plane}"
        for item in client.list("Namespace", labelSelector=labels):
            client.delete("Namespace", item["metadata"]["name"])
        await_done("namespaces to go", lambda: not client.list("Namespace", labelSelector=labels))
        shutil.rmtree(self._root / plane, ignore_errors=True)
        for folder in ("state", "cache"):
            shutil.rmtree(self._root / folder / plane, ignore_errors=True)


def measure_cluster(
    root: Path, rows: Collection[str], size: int, apply_size: int, rounds: int
) -> Iterator[Verdict]:
    """``size`` Deployments are looked at, ``apply_size`` made; ``rounds`` of the latter."""
    with ExitStack() as stack:
        folder = root / "cluster"
        folder.mkdir()
        try:
            cluster = stack.enter_context(rig(folder))
        except MissingEngineError as missing:
            yield Verdict("10", "a cluster of Kubernetes", note=str(missing))
            return
        bench = ClusterBench(root, cluster)
        bench.watch_writes()
        if "10c" in rows:
            contenders = {
                "bare": lambda: bench.bare(apply_size),
                "ours": lambda: bench.ours(apply_size),
            }
            yield _judge_apply(apply_size, bench, take_turns(contenders, rounds))
        if rows & {"10a", "10b"}:
            plane = bench.fill(size)
            standing = {
                "list": lambda: bench.list(plane),
                "look": lambda: bench.look(plane),
                "plan": lambda: bench.plan(plane),
                "pass": lambda: bench.leave_alone(plane),
            }
            yield from _judge_looks(size, bench, take_turns(standing, ROUNDS))
            yield from _judge_watch(size, bench, plane)


def _judge_apply(size: int, bench: ClusterBench, results: dict[str, Samples]) -> Verdict:
    ours, bare = results["ours"], results["bare"]
    note = f"{_say(ours)}; the bare loop {_say(bare)}, moved {drift_of(bare):.2f}x; a Deployment "
    note += f"and two Services each, {TENANTS} namespaces, pods that only say they run"
    text = f"apply of {size} Deployments until Available to a bare loop"
    ratio = median_ratio(ours.walls_s, bare.walls_s)
    return Verdict("10c", text, ratio, 1.3, note=note, drift=drift_of(bare))


def _judge_looks(size: int, bench: ClusterBench, results: dict[str, Samples]) -> Iterator[Verdict]:
    assert bench.counts["look"] == bench.counts["list"] == size, bench.counts
    bare, drift = results["list"], drift_of(results["list"])
    about = f"the bare list {_say(bare)}, moved {drift:.2f}x"
    for name, row, text in (
        ("look", "10a", f"look at {size:,} Deployments"),
        ("plan", "10b", f"plan without changes of {size:,} Deployments"),
        ("pass", "10b", f"pass without changes of {size:,} Deployments"),
    ):
        ratio = median_ratio(results[name].walls_s, bare.walls_s)
        note = f"{_say(results[name])}; {about}"
        yield Verdict(row, f"{text} to a bare paged list", ratio, note=note)
    calls = f"the bare list {bench.calls['list']}"
    yield Verdict("10a", "list calls of one look", bench.calls["look"], 5, "", note=calls)
    yield Verdict("10b", "writes of all these passes", bench.calls["pass"], 0, "")


def _judge_watch(size: int, bench: ClusterBench, plane: str) -> Iterator[Verdict]:
    """As ``serve`` looks."""
    bench.watch(plane)
    assert bench.counts["watch"] == size, bench.counts
    listed_s, watched_s = bench.looks_s
    note = f"{1000 * watched_s:.1f} ms; by lists, in the same process, {1000 * listed_s:.0f} ms"
    text = f"look at {size:,} Deployments that are watched to one that lists"
    yield Verdict("10a", text, watched_s / listed_s, note=note)
    yield Verdict("10a", "calls of one look at what is watched", bench.calls["watch"], 1, "")


def _say(samples: Samples) -> str:
    used = f"cpu {samples.cpu_s:.2f} s, {samples.peak_mib:.0f} MiB"
    return f"{samples.wall_s:.2f} s ({samples.spread}), {used}"


def write_repo(folder: Path, plane: str, size: int) -> None:
    """So many instances of one replica with a port, over a few tenants."""
    documents: dict[str, list[str]] = {
        f"t{tenant}": [_TENANT.format(tenant=f"t{tenant}")] for tenant in range(TENANTS)
    }
    for number in range(size):
        tenant = f"t{number % TENANTS}"
        names = {"tenant": tenant, "name": f"i{number}", "number": number, "image": IMAGE}
        documents[tenant] += [_INSTANCE.format(**names), _DEPLOYMENT.format(**names)]
    (folder / "tenants").mkdir(parents=True)
    (folder / "ctrlplane.yaml").write_text(_HEADER + _PLANE.format(plane=plane))
    for tenant, texts in documents.items():
        text = "---\n".join(_HEADER + text for text in texts)
        (folder / "tenants" / f"{tenant}.yaml").write_text(text)


def build_objects(plane: str, size: int) -> list[list[dict[str, Any]]]:
    """The same as objects: what tenants have, then group by group what an instance has."""
    first: list[dict[str, Any]] = []
    for number in range(TENANTS):
        tenant, namespace = f"t{number}", f"{plane}-t{number}"
        first += [
            _object("v1", "Namespace", manifest.build_namespace(plane, tenant, namespace)),
            _object("v1", "ServiceAccount", manifest.build_account(plane, tenant, namespace)),
        ]
    groups = []
    for number in range(size):
        key, namespace = instance_key(f"t{number % TENANTS}", f"i{number}"), f"{plane}-"
        namespace += key.tenant
        template = ReleaseTemplate(
            "here", image=IMAGE, env={"NUMBER": str(number)}, ports=(Port("http", 8080),)
        )
        release = Release(key, 1, "0123456789abcdef", template, "", datetime.now(UTC))
        action = ScaleReplicaSet(key, "here", release, 1)
        own = manifest.build_service(plane, namespace, release)
        shared = manifest.build_instance_service(plane, namespace, release)
        assert own is not None and shared is not None
        deployment = manifest.build_deployment(plane, namespace, action, 1)
        group = [_object("apps/v1", "Deployment", deployment)]
        groups.append([*group, *(_object("v1", "Service", item) for item in (own, shared))])
    return [first, *groups]


def _object(version: str, kind: str, body: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind} | body
