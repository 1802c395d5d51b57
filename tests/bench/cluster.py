"""An API server at its best: bare HTTP and JSON, and our own look beside it.

``python -m tests.bench.cluster list KUBECONFIG PLANE`` lists the Deployments of a plane with their
Services and pods page by page; ``look`` has our provider look at the same, ``watch`` again and
again while it is told what changes; ``apply KUBECONFIG OBJECTS THREADS`` applies the objects of a
file server-side, so many calls at a time and no more, and ends when every Deployment is Available.
Each prints as JSON how many calls it made.
"""

from __future__ import annotations

import base64
import gc
import json
import ssl
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from time import perf_counter, sleep
from typing import Any
from urllib.parse import quote

import urllib3

LABEL, RELEASE = "ctrlplane.dev/plane", "ctrlplane.dev/release"
PAGE = 1200
# As many as ours writes side by side.
THREADS = 8
_PLACES = {
    "Namespace": "/api/v1/namespaces",
    "ServiceAccount": "/api/v1/namespaces/{}/serviceaccounts",
    "Service": "/api/v1/namespaces/{}/services",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
}
_DEPLOYMENTS = "/apis/apps/v1/deployments"
_LISTS = (
    _DEPLOYMENTS,
    "/api/v1/services",
    "/api/v1/pods",
    "/apis/autoscaling/v2/horizontalpodautoscalers",
)
_EVERY_S, _PATIENCE_S = 0.2, 600
_LOOKS = 10
Object = dict[str, Any]


class BareCluster:
    """One API server as a kubeconfig of JSON names it, over connections that are kept."""

    def __init__(self, kubeconfig: Path, connections: int = 1) -> None:
        config = json.loads(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        context = ssl.create_default_context(cadata=authority)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "client.pem"
            parts = (user[f"client-{part}-data"] for part in ("certificate", "key"))
            path.write_bytes(b"\n".join(map(base64.b64decode, parts)))
            context.load_cert_chain(path)
        self._server = cluster["server"]
        self._pool = urllib3.PoolManager(maxsize=connections, ssl_context=context, retries=False)
        self.calls = 0

    def ask(self, method: str, target: str, body: Any = None) -> Any:
        """The answer's JSON; RuntimeError for what is no success."""
        self.calls += 1
        content = None if body is None else json.dumps(body).encode()
        kind = "application/apply-patch+yaml" if method == "PATCH" else "application/json"
        headers = {"Content-Type": kind, "Accept": "application/json"}
        answer = self._pool.request(method, self._server + target, body=content, headers=headers)
        if answer.status >= 400:
            raise RuntimeError(f"{method} {target}: {answer.status} {answer.data[:300]!r}")
        return json.loads(answer.data)

    def read_all(self, target: str, plane: str) -> Iterator[Object]:
        """What belongs to the plane's Deployments, page by page."""
        labels = quote(f"{LABEL}={plane},{RELEASE}")
        token = ""
        while True:
            query = f"limit={PAGE}&labelSelector={labels}&continue={quote(token)}"
            page = self.ask("GET", f"{target}?{query}")
            yield from page["items"]
            token = page["metadata"].get("continue", "")
            if not token:
                return

    def apply(self, item: Object) -> None:
        metadata = item["metadata"]
        place = _PLACES[item["kind"]].format(metadata.get("namespace"))
        self.ask("PATCH", f"{place}/{metadata['name']}?fieldManager=bare&force=false", item)


def list_all(kubeconfig: Path, plane: str) -> Object:
    gc.disable()
    cluster = BareCluster(kubeconfig)
    counts = [sum(1 for _ in cluster.read_all(target, plane)) for target in _LISTS]
    return {"calls": cluster.calls, "counts": counts}


class Looker:
    """Our provider, as a process of ours has it. ``calls`` are those of its looks so far."""

    def __init__(self, kubeconfig: Path, plane: str) -> None:
        from ctrlplane_gitops.cluster.connection import Connection
        from ctrlplane_gitops.providers.base import ProviderSettings
        from ctrlplane_gitops.providers.kubernetes.provider import KubernetesProvider
        from ctrlplane_gitops.state.desired import ProviderConfig

        looker = self

        class Counted(Connection):
            def request(self, *arguments: Any, **options: Any) -> Any:
                looker.calls += 1
                return super().request(*arguments, **options)

        self.calls = 0
        config = ProviderConfig("here", "kubernetes", {})
        environ = {"CTRLPLANE_KUBECONFIG": str(kubeconfig)}
        self.provider = KubernetesProvider(ProviderSettings(plane, config, "", environ=environ))
        api = self.provider.site.api
        api.connection = Counted(api.connection.access)

    def look(self) -> int:
        """How many replica sets there are."""
        found = self.provider.observe()
        assert not found.gaps, found.gaps
        return len(found.replica_sets)

    def time_looks(self) -> float:
        """Seconds of one, by the median of some."""
        taken = []
        for _ in range(_LOOKS):
            began = perf_counter()
            self.look()
            taken.append(perf_counter() - began)
        return median(taken)


def look(kubeconfig: Path, plane: str) -> Object:
    """With the options of a process of ours."""
    from ctrlplane_gitops.cli.plan import gc_off

    looker = Looker(kubeconfig, plane)
    with gc_off():
        count = looker.look()
    return {"calls": looker.calls, "counts": [count]}


def watch(kubeconfig: Path, plane: str) -> Object:
    """Looks of one provider, before it is watched and since: as in ``serve``, one after another."""
    from ctrlplane_gitops.providers.halt import Halt

    looker, halt = Looker(kubeconfig, plane), Halt()
    listed_s = looker.time_looks()
    calls = looker.provider.watch(lambda keys: None, halt)
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()

    def is_told() -> bool:
        before = looker.calls
        return not looker.look() or looker.calls <= before + 1

    await_done("what is watched to be current", is_told)
    watched_s, before = looker.time_looks(), looker.calls
    count = looker.look()
    answer = {"calls": looker.calls - before, "counts": [count]}
    halt.set()
    for thread in threads:
        thread.join()
    return answer | {"listed_s": listed_s, "watched_s": watched_s}


def apply_all(kubeconfig: Path, objects: Path, threads: int) -> Object:
    """``objects`` is a list of groups: the first one before the others, each of which is one
    thread's."""
    first, *groups = json.loads(objects.read_text())
    cluster = BareCluster(kubeconfig, threads)
    plane = first[0]["metadata"]["labels"][LABEL]

    def apply(group: list[Object]) -> None:
        for item in group:
            cluster.apply(item)

    with ThreadPoolExecutor(threads) as pool:
        apply(first)
        for done in [pool.submit(apply, group) for group in groups]:
            done.result()

    def is_done() -> bool:
        return sum(map(is_available, cluster.read_all(_DEPLOYMENTS, plane))) >= len(groups)

    await_done(f"{len(groups)} Deployments to be Available", is_done)
    return {"calls": cluster.calls, "counts": [len(groups)]}


def await_done(what: str, is_done: Callable[[], bool], every_s: float = _EVERY_S) -> None:
    """RuntimeError where it takes longer than anything here does: a controller is dead then."""
    deadline = perf_counter() + _PATIENCE_S
    while not is_done():
        if perf_counter() > deadline:
            raise RuntimeError(f"waited {_PATIENCE_S} s for {what}")
        sleep(every_s)


def is_available(deployment: Object) -> bool:
    wanted = deployment["spec"]["replicas"]
    return int(deployment["status"].get("availableReplicas", 0)) >= int(wanted)


if __name__ == "__main__":
    verb, path = sys.argv[1], Path(sys.argv[2])
    if verb == "apply":
        seen = apply_all(path, Path(sys.argv[3]), int(sys.argv[4]))
    else:
        seen = {"list": list_all, "look": look, "watch": watch}[verb](path, sys.argv[3])
    print(json.dumps(seen))
