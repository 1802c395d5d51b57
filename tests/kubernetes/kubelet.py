"""The nodes: pods that are bound to them run, become ready, fail and end as they are told to.

Of an image that is not run a pod only says that it does. Annotations of the pod's template win
over what its image says, all below ``rig.ctrlplane.dev/``: ``ready-after`` and ``stop-after``
(seconds; "never" is never ready), ``fault`` ("pull" or "crash").
"""

from __future__ import annotations

import itertools
import os
import random
import re
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.engines.kubernetes import ControlPlane
from tests.kubernetes.client import ApiError, Client, Object, path_of
from tests.kubernetes.image import Image, Images, usual_images
from tests.kubernetes.kubelet_server import KubeletServer
from tests.kubernetes.log import Log
from tests.kubernetes.pod import ContainerState, PodState, now_text, waiting
from tests.kubernetes.process_pod import ProcessPod
from tests.kubernetes.timers import NEVER_S, Timers

PREFIX = "rig.ctrlplane.dev/"
# What the API says is 10.x.y.z is reached at 127.x.y.z: every address of 127/8 is this machine's,
# and an EndpointSlice may not hold one of them. Not those of services, 10.96.y.z.
_POD = re.compile(r"\b10\.(?!96\.)(?=\d+\.\d+\.\d+\b)")
_FIRST, _LAST = 128, 254
_HOST_IP = "127.0.0.1"
_WORKERS = 6
_FEATURES = ["ExtendWebSocketsToKubelet"]
_STRATEGIC = "application/strategic-merge-patch+json"


def reachable(text: str) -> str:
    """The same with pods' addresses as they can be reached from here.

    >>> reachable("http://10.244.0.7:8080/ 10.96.0.1")
    'http://127.244.0.7:8080/ 10.96.0.1'
    """
    return _POD.sub("127.", text)


class Kubelet:
    """``images`` may be changed at any time, for pods to come. ``backoff_s`` is the first pause
    after a second crash; each further one is twice as long."""

    backoff_s = 1.0
    longest_backoff_s = 10.0

    def __init__(self, plane: ControlPlane, root: Path, nodes: int = 2) -> None:
        self.plane, self.root = plane, root
        self.client = Client(plane.access, connections=_WORKERS + 4)
        self.images: Images = usual_images()
        self.nodes = tuple(f"node-{number}" for number in range(nodes))
        self.timers = Timers(_WORKERS)
        self.pods: dict[str, PodState] = {}
        self._lock = threading.Lock()
        # Somewhere: another session may have nodes on this machine as well.
        self._network = random.SystemRandom().randrange(_FIRST, _LAST)
        self._addresses = itertools.count(random.SystemRandom().randrange(30_000))
        self._server = KubeletServer(self, *plane.issue_server("kubelet"))
        self._watch = self.client.watch("Pod", fieldSelector="spec.nodeName!=")
        self._thread = threading.Thread(target=self._follow)

    def start(self) -> None:
        """Nodes that are ready, and pods from now on."""
        self._server.start()
        for name in self.nodes:
            self._join(name)
        self._thread.start()

    def close(self) -> None:
        self._watch.close()
        self._thread.join()
        with self._lock:
            running = [pod for pod in self.pods.values() if pod.running is not None]
        for pod in running:
            self._end_at_once(pod)
        for pod in running:
            pod.running.wait()
        self.timers.close()
        self._server.close()
        self.client.close()

    def _join(self, name: str) -> None:
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {}}}
        node["metadata"]["labels"] = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}
        self.client.apply(node)
        room = {"cpu": "64", "memory": "256Gi", "pods": "1000", "ephemeral-storage": "100Gi"}
        condition = {"type": "Ready", "status": "True", "reason": "KubeletReady"}
        condition |= {"lastTransitionTime": now_text(), "lastHeartbeatTime": now_text()}
        status = {
            "capacity": room,
            "allocatable": room,
            "conditions": [condition],
            "addresses": [{"type": "InternalIP", "address": _HOST_IP}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self._server.port}},
            "declaredFeatures": _FEATURES,
        }
        self.client.patch("Node", name, {"status": status}, part="status")
        self.client.patch("Node", name, {"spec": {"taints": None}})

    # What the API says.

    def _follow(self) -> None:
        for verb, item in self._watch:
            if verb == "LISTED":
                self._forget_others({pod["metadata"]["uid"] for pod in item["items"]})
            elif verb == "DELETED":
                self._forget(item["metadata"]["uid"])
            elif item["spec"].get("nodeName") in self.nodes:
                self._see(item)

    def _see(self, item: Object) -> None:
        with self._lock:
            pod = self.pods.get(item["metadata"]["uid"])
            is_new = pod is None and item.get("status", {}).get("phase") == "Pending"
            if is_new:
                pod = self.pods[item["metadata"]["uid"]] = self._make(item)
        if pod is None:
            # Of a node before this one: nothing of it is here.
            if "deletionTimestamp" in item["metadata"]:
                self._delete(PodState(item, "", _HOST_IP))
            return
        with pod.lock:
            is_resized = pod.item["spec"] != item["spec"] and not is_new
            pod.item = item
            is_to_end = "deletionTimestamp" in item["metadata"] and not pod.is_ending
            pod.is_ending = pod.is_ending or is_to_end
        if is_to_end:
            self.end(pod)
        elif is_new:
            self.timers.later(0, lambda: self.begin(pod))
        elif is_resized:
            self.report(pod)

    def _make(self, item: Object) -> PodState:
        number = next(self._addresses)
        ip = f"10.{self._network}.{number // 250 % 250}.{number % 250 + 1}"
        if item["spec"].get("hostNetwork", False):
            ip = _HOST_IP
        pod = PodState(item, ip, _HOST_IP)
        if any(self.images.find(one.image).is_run for one in pod.containers.values()):
            pod.running = ProcessPod(self, pod, reachable(ip))
        return pod

    def _forget_others(self, uids: set[str]) -> None:
        with self._lock:
            gone = set(self.pods) - uids
        for uid in gone:
            self._forget(uid)

    def _forget(self, uid: str) -> None:
        """Deleted at once, or as it was asked for."""
        with self._lock:
            pod = self.pods.pop(uid, None)
        if pod is not None:
            self._end_at_once(pod)

    def _end_at_once(self, pod: PodState) -> None:
        with pod.lock:
            is_running = not pod.is_ending
            pod.is_ending = True
        if is_running and pod.running is not None:
            pod.running.end(0, lambda: None)

    def find(self, namespace: str, name: str) -> PodState | None:
        with self._lock:
            for pod in self.pods.values():
                if (pod.namespace, pod.name) == (namespace, name):
                    return pod
        return None

    # What the API server asks.

    def log_of(self, namespace: str, pod: str, container: str, is_previous: bool) -> Log:
        return self._container(namespace, pod, container).log(is_previous)

    def command_in(
        self, namespace: str, pod: str, container: str, command: Sequence[str]
    ) -> tuple[Sequence[str], Mapping[str, str], Path]:
        """In a pod that only says it runs the command is run all the same, beside it."""
        self._container(namespace, pod, container)
        found = self.find(namespace, pod)
        if found is not None and found.running is not None:
            return found.running.container(container).enter(command)
        return command, {"PATH": os.environ["PATH"], "HOSTNAME": pod}, self.root

    def _container(self, namespace: str, pod: str, container: str) -> ContainerState:
        found = self.find(namespace, pod)
        if found is None:
            raise KeyError(f"pod {namespace}/{pod} is not here")
        containers = found.inits | found.containers
        if container not in containers:
            raise KeyError(f"pod {pod} has no container {container}")
        return containers[container]

    # What is said to the API.

    def report(self, pod: PodState) -> None:
        """Its status, soon, and until it is known."""
        self.timers.later(0, lambda: self._report(pod))

    def _report(self, pod: PodState) -> None:
        path = path_of("Pod", pod.namespace, pod.name) + "/status"
        try:
            # One at a time: what is older must not arrive later.
            with pod.saying:
                self.client.send("PATCH", path, pod.status(), kind=_STRATEGIC)
        except ApiError as refused:
            if refused.status >= 500 or refused.status == 429:
                self.timers.later(0.2, lambda: self._report(pod))
        except Client.BROKEN:
            self.timers.later(0.2, lambda: self._report(pod))

    def _delete(self, pod: PodState) -> None:
        if pod.item["metadata"].get("finalizers"):
            # What somebody keeps of it says that it has ended.
            with pod.lock:
                for one in pod.containers.values():
                    if "running" in one.state:
                        one.end(0)
                pod.final_phase = "Succeeded"
            self._report(pod)
        try:
            self.client.delete(
                "Pod",
                pod.name,
                pod.namespace,
                gracePeriodSeconds=0,
                preconditions={"uid": pod.uid},
            )
        except (ApiError, *Client.BROKEN):
            self.timers.later(0.2, lambda: self._delete(pod))

    def tell(self, pod: PodState, reason: str, message: str, kind: str = "Warning") -> None:
        """An event about a pod; one that cannot be told is not."""
        at = now_text()
        about = {"kind": "Pod", "apiVersion": "v1", "name": pod.name, "namespace": pod.namespace}
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"generateName": f"{pod.name}."},
            "involvedObject": {**about, "uid": pod.uid},
            "reason": reason,
            "message": message,
            "type": kind,
            "source": {"component": "kubelet", "host": pod.item["spec"]["nodeName"]},
            "firstTimestamp": at,
            "lastTimestamp": at,
            "count": 1,
        }
        try:
            self.client.create(event, pod.namespace)
        except (ApiError, *Client.BROKEN):
            return

    # Pods that only say they run.

    def begin(self, pod: PodState) -> None:
        images = [self.images.find(one.image) for one in pod.containers.values()]
        fault = pod.annotations.get(
            f"{PREFIX}fault", next((i.fault for i in images if i.fault), "")
        )
        if pod.running is not None and not fault:
            pod.running.begin()
            return
        pod.running = None
        with pod.lock:
            pod.is_initialized = True
        if fault == "pull":
            self._fail_to_pull(pod)
        elif fault == "crash":
            self._crash(pod)
        else:
            self._pretend(pod, images)

    def _pretend(self, pod: PodState, images: list[Image]) -> None:
        said = pod.annotations.get(f"{PREFIX}ready-after", "")
        delay_s = _seconds(said) if said else max(image.ready_s for image in images)
        owners = pod.item["metadata"].get("ownerReferences", ())
        with pod.lock:
            for one in pod.containers.values():
                one.begin()
                one.is_started = True
                one.log().add(f"{one.image} says it runs")
        if any(owner["kind"] == "Job" for owner in owners):
            self.timers.later(0.05, lambda: self._complete(pod))
        elif delay_s <= 0:
            self._become_ready(pod)
            return
        else:
            self.timers.later(delay_s, lambda: self._become_ready(pod))
        self._report(pod)

    def _become_ready(self, pod: PodState) -> None:
        with pod.lock:
            if pod.is_ending:
                return
            for one in pod.containers.values():
                one.is_ready = True
        self._report(pod)

    def _complete(self, pod: PodState) -> None:
        with pod.lock:
            for one in pod.containers.values():
                one.end(0)
            pod.final_phase = "Succeeded"
        self._report(pod)

    def _fail_to_pull(self, pod: PodState, attempt: int = 0) -> None:
        with pod.lock:
            if pod.is_ending:
                return
            for one in pod.containers.values():
                text = f'failed to pull and unpack image "{one.image}": not found'
                if attempt:
                    text = f'Back-off pulling image "{one.image}": ErrImagePull: {text}'
                one.state = waiting("ImagePullBackOff" if attempt else "ErrImagePull", text)
        self._report(pod)
        self.tell(pod, "BackOff" if attempt else "Failed", text)
        if not attempt:
            self.timers.later(0.2, lambda: self._fail_to_pull(pod, 1))

    def _crash(self, pod: PodState, count: int = 0) -> None:
        with pod.lock:
            if pod.is_ending:
                return
            for one in pod.containers.values():
                one.begin_again() if count else one.begin()
                one.end(1)
        self._report(pod)
        pause_s = self.pause_s(count)
        if pause_s:
            with pod.lock:
                for one in pod.containers.values():
                    one.back_off(pause_s)
            self._report(pod)
            self.tell(pod, "BackOff", "Back-off restarting failed container")
        self.timers.later(pause_s + 0.05, lambda: self._crash(pod, count + 1))

    def pause_s(self, restarts: int) -> float:
        """Before the next start: the first time none."""
        if not restarts:
            return 0.0
        return min(self.backoff_s * 2.0 ** (restarts - 1), self.longest_backoff_s)

    def end(self, pod: PodState) -> None:
        """As long as the API gives it, or as it takes."""
        if pod.running is not None:
            grace_s = float(pod.item["metadata"].get("deletionGracePeriodSeconds") or 0)
            pod.running.end(grace_s, lambda: self._delete(pod))
            return
        images = [self.images.find(one.image) for one in pod.containers.values()]
        said = pod.annotations.get(f"{PREFIX}stop-after", "")
        delay_s = _seconds(said) if said else max(image.stop_s for image in images)
        self.timers.later(delay_s, lambda: self._delete(pod))


def _seconds(text: str) -> float:
    """
    >>> _seconds("1.5"), _seconds("never")
    (1.5, inf)
    """
    return NEVER_S if text == "never" else float(text)
