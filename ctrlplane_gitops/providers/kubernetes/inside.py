"""What comes out of a pod: its log, what a command prints in it, what it uses."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from decimal import Decimal
from typing import Any

from ctrlplane_gitops.cluster.api import Api
from ctrlplane_gitops.cluster.failure import ApiError
from ctrlplane_gitops.cluster.resource import POD, POD_METRICS
from ctrlplane_gitops.errors import CapabilityError, ProviderError, UnreachableError
from ctrlplane_gitops.providers.base import LABEL_PLANE, LogLine
from ctrlplane_gitops.providers.halt import Halt
from ctrlplane_gitops.providers.kubernetes.quantity import read_quantity
from ctrlplane_gitops.providers.kubernetes.row import PodRow, read_time
from ctrlplane_gitops.providers.log import split_lines
from ctrlplane_gitops.state.usage import Usage


def read_log(
    api: Api, replica: str, pod: PodRow, tail: int | None, is_follow: bool, halt: Halt | None
) -> Iterator[LogLine]:
    """Lines as the kubelet gives them, which does not tell the streams apart."""
    query: dict[str, Any] = {"container": pod.container, "timestamps": "true"}
    if tail is not None:
        query["tailLines"] = tail
    if is_follow:
        query["follow"] = "true"
    path = POD.path(pod.namespace, pod.name, "log")
    read_s = None if is_follow else api.connection.timeout_s
    with api.connection.open(path, f"read the log of {replica}", query=query, read_s=read_s) as it:
        if halt is not None:
            halt.on_set(lambda: _shut(it))
        try:
            yield from split_lines(replica, it.stream(1 << 14))
        except Exception as error:
            # Cut off in the middle, as was asked.
            if halt is not None and halt.is_set:
                return
            if isinstance(error, ProviderError):
                raise
            raise UnreachableError(f"the log of {replica} ended: {error}") from None


def _shut(response: Any) -> None:
    with suppress(OSError, ValueError, RuntimeError):
        response.shutdown()


class Metering:
    """What pods use, by ``metrics.k8s.io``. It tells how much processor they use at a time, and we
    add that up: the totals are as good as it is asked often. For several threads."""

    def __init__(self, api: Api, plane: str) -> None:
        self._api = api
        self._plane = plane
        self._lock = threading.Lock()
        self._spent: dict[str, tuple[datetime, Decimal]] = {}

    def read(self, names: Mapping[str, str], wanted: Collection[str]) -> dict[str, Usage]:
        """``names`` are replicas' names by namespace/name of their pods. CapabilityError where the
        cluster measures nothing."""
        try:
            rows = self._api.read_all(POD_METRICS, {LABEL_PLANE: self._plane}, lambda item: item)
        except ApiError as error:
            if not error.is_absent:
                raise
            raise CapabilityError(
                "this cluster has no capability 'usage': nobody serves metrics.k8s.io",
                hint="install the metrics-server",
            ) from None
        found = {}
        for row in rows:
            metadata = row["metadata"]
            pod = f"{metadata.get('namespace')}/{metadata['name']}"
            if names.get(pod) in wanted:
                found[names[pod]] = self._take(pod, row)
        self._forget(set(names))
        return found

    def _take(self, pod: str, row: Mapping[str, Any]) -> Usage:
        cores, memory = Decimal(0), Decimal(0)
        for container in row.get("containers") or ():
            usage = container.get("usage") or {}
            cores += read_quantity(usage.get("cpu")) or 0
            memory += read_quantity(usage.get("memory")) or 0
        at = read_time(row.get("timestamp"))
        with self._lock:
            before = self._spent.get(pod)
            total = before[1] if before else Decimal(0)
            if at is not None and before is not None and at > before[0]:
                total += cores * Decimal((at - before[0]).total_seconds())
            if at is not None and (before is None or at > before[0]):
                self._spent[pod] = (at, total)
        return Usage(float(total), int(memory))

    def _forget(self, known: set[str]) -> None:
        with self._lock:
            for pod in self._spent.keys() - known:
                del self._spent[pod]
