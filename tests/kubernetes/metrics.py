"""``metrics.k8s.io`` as a metrics server would answer it: objects of two definitions, measured of
the containers that really run, or written by a test."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from ctrlplane_gitops.clock import monotonic_s
from tests.kubernetes.client import ApiError, Client, Object
from tests.kubernetes.pod import PodState, now_text
from tests.kubernetes.rig import Rig

_GROUP = "metrics.k8s.io"
_KINDS = (("pods", "PodMetrics", "Namespaced"), ("nodes", "NodeMetrics", "Cluster"))
_PERIOD_S = 0.5
_NAMES = {kind: f"{plural}.{_GROUP}" for plural, kind, _ in _KINDS}


class Metrics:
    """``write`` is for pods that only say they run; of the others what they use is measured."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._before: dict[tuple[str, str], tuple[float, float]] = {}
        self._written: set[tuple[str, str]] = set()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def write(self, namespace: str, pod: str, usage: Mapping[str, tuple[str, str]]) -> None:
        """Processor and memory of each container, as quantities: "250m", "64Mi"."""
        labels = self._rig.client.get("Pod", pod, namespace)["metadata"].get("labels") or {}
        self._apply(namespace, pod, labels, usage)

    def _apply(
        self,
        namespace: str,
        pod: str,
        labels: Mapping[str, str],
        usage: Mapping[str, tuple[str, str]],
    ) -> None:
        containers = [
            {"name": name, "usage": {"cpu": cpu, "memory": memory}}
            for name, (cpu, memory) in usage.items()
        ]
        item = {
            "apiVersion": f"{_GROUP}/v1beta1",
            "kind": "PodMetrics",
            "metadata": {"name": pod, "labels": dict(labels)},
            "timestamp": now_text(),
            "window": f"{_PERIOD_S}s",
            "containers": containers,
        }
        self._rig.client.apply(item, namespace)
        self._written.add((namespace, pod))

    def forget(self) -> None:
        """Everything of its own."""
        for namespace, pod in self._written:
            self._rig.client.delete("PodMetrics", pod, namespace)

    def measure(self) -> None:
        """Once, of all that really run; those that are gone are forgotten."""
        running = {
            (pod.namespace, pod.name): pod
            for pod in list(self._rig.kubelet.pods.values())
            if pod.running is not None and not pod.is_ending
        }
        for where, pod in running.items():
            usage = {name: found for name in pod.containers if (found := self._usage(pod, name))}
            if usage:
                labels = pod.item["metadata"].get("labels") or {}
                self._apply(*where, labels, usage)
        for namespace, pod_name in list(self._written):
            if self._rig.kubelet.find(namespace, pod_name) is None:
                self._rig.client.delete("PodMetrics", pod_name, namespace)
                self._written.discard((namespace, pod_name))

    def _usage(self, pod: PodState, name: str) -> tuple[str, str] | None:
        """None of the first look: there is nothing to compare with."""
        assert pod.running is not None
        cpu_s, memory = _measured(pod.running.container(name).process_id)
        now, key = monotonic_s(), (pod.uid, name)
        before, self._before[key] = self._before.get(key), (now, cpu_s)
        if before is None or now <= before[0]:
            return None
        share = max(0.0, cpu_s - before[1]) / (now - before[0])
        return f"{int(share * 1e9)}n", f"{memory >> 10}Ki"

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._is_over.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._is_over.wait(_PERIOD_S):
            with suppress(ApiError, *Client.BROKEN):
                self.measure()


def _measured(leader: int) -> tuple[float, int]:
    """Seconds of processor and bytes of memory of a container's processes; zeros for none."""
    seconds, memory = 0.0, 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        # Counted from the state: session, user and system time, resident pages.
        if leader and int(fields[3]) == leader:
            seconds += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            memory += int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
    return seconds, memory


def _definition(plural: str, kind: str, scope: str) -> Object:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1beta1", "served": True, "storage": True}
    note = "unapproved, the tests have no aggregated server"
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{plural}.{_GROUP}",
            "annotations": {"api-approved.kubernetes.io": note},
        },
        "spec": {
            "group": _GROUP,
            "names": {"plural": plural, "kind": kind, "singular": kind.lower()},
            "scope": scope,
            "versions": [{**version, "schema": {"openAPIV3Schema": schema}}],
        },
    }


@contextmanager
def metrics_server(rig: Rig) -> Iterator[Metrics]:
    """There inside the block; afterwards what was there before, which is no such group at all where
    nobody else made it."""
    was_there = _definitions(rig)
    for plural, kind, scope in _KINDS:
        rig.client.apply(_definition(plural, kind, scope))
    metrics = Metrics(rig)
    try:
        for _, kind, _ in _KINDS:
            # A list that is answered: a name that is not known yet is a 404.
            rig.client.wait(f"the definition of {kind}", lambda kind=kind: _is_served(rig, kind))
        metrics.start()
        yield metrics
    finally:
        metrics.close()
        metrics.forget()
        if not was_there:
            for name in _NAMES.values():
                rig.client.delete("CustomResourceDefinition", name)
            # One that is made again while it still goes would go as well.
            rig.client.wait("the definitions to go", lambda: not _definitions(rig), 60)


def _definitions(rig: Rig) -> set[str]:
    names = {item["metadata"]["name"] for item in rig.client.list("CustomResourceDefinition")}
    return names & set(_NAMES.values())


def _is_served(rig: Rig, kind: str) -> bool:
    rig.client.list(kind)
    return True
