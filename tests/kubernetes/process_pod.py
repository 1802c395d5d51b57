"""A pod that really runs: its network, its volumes, its containers, and how it ends."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from tests.kubernetes.client import ApiError, Client, Object
from tests.kubernetes.container import Container
from tests.kubernetes.image import Images
from tests.kubernetes.pod import PodState
from tests.kubernetes.probe import ports_of, probed_ports
from tests.kubernetes.volume import Giver, NotReadyError

_PAUSE = Path(__file__).with_name("pause.py")
_AGAIN_S = 0.3


class Node(Protocol):
    client: Client
    images: Images
    root: Path

    def report(self, pod: PodState) -> None: ...

    def tell(self, pod: PodState, reason: str, message: str, kind: str = ...) -> None: ...

    def pause_s(self, restarts: int) -> float: ...


class Network:
    """Of one pod: a process that holds it, reached at ``address`` from outside; ``out`` is the
    port of the machine's loopback that is reached from inside."""

    def __init__(self, address: str, ports: set[int], out: int) -> None:
        ours, theirs = socket.socketpair()
        self._control, self._lock = ours, threading.Lock()
        numbers = sorted(ports)
        listeners = [socket.create_server((address, number), backlog=1024) for number in numbers]
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_PAUSE), str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        descriptors = [listener.fileno() for listener in listeners]
        socket.send_fds(ours, [json.dumps([numbers, out]).encode()], descriptors)
        is_up = ours.recv(1) == b"r"
        for listener in listeners:
            listener.close()
        if not is_up:
            self.close()
            raise NotReadyError("the pod's network does not come up")

    def is_listening(self, port: int) -> bool:
        """Whether somebody inside does."""
        try:
            with self._lock:
                self._control.sendall(str(port).encode())
                return self._control.recv(1) == b"1"
        except OSError:
            return False

    def close(self) -> None:
        with self._lock:
            self._control.close()
        self.process.wait()


class ProcessPod:
    """``begin`` and ``end`` return at once; ``on_gone`` is called when all has ended."""

    def __init__(self, node: Node, pod: PodState, address: str) -> None:
        self._node, self._pod, self.address = node, pod, address
        spec = pod.item["spec"]
        self.name = pod.name
        self._api = urlsplit(node.client.access.server)
        self.restart_policy = spec.get("restartPolicy", "Always")
        self.giver = Giver(node.client, pod.item, pod.ip, pod.host_ip)
        self.volumes: Mapping[str, Path] = {}
        self.is_over = threading.Event()
        self.grace_s = float(spec.get("terminationGracePeriodSeconds", 30))
        self._folder = node.root / "pods" / pod.uid
        self._network: Network | None = None
        self._inits = [self._make(one) for one in spec.get("initContainers", ())]
        self._containers = [self._make(one) for one in spec["containers"]]
        self._threads = [threading.Thread(target=self._run)]
        self._lock = threading.Lock()

    def _make(self, spec: Object) -> Container:
        image = self._node.images.find(spec["image"])
        states = self._pod.inits | self._pod.containers
        container = Container(self, spec, image, states[spec["name"]], self._folder / spec["name"])
        container.place(ports_of(spec))
        return container

    # What its containers see.

    @property
    def pause(self) -> int:
        return self._network.process.pid if self._network is not None else 0

    def is_listening(self, port: int) -> bool:
        if self._network is not None:
            return self._network.is_listening(port)
        try:
            socket.create_connection((self.address, port), timeout=1).close()
        except OSError:
            return False
        return True

    @property
    def api(self) -> tuple[str, str]:
        """Host and port of the API server, as a pod is told."""
        return str(self._api.hostname), str(self._api.port or 443)

    def report(self) -> None:
        self._node.report(self._pod)

    def tell(self, reason: str, message: str, kind: str = "Warning") -> None:
        self._node.tell(self._pod, reason, message, kind)

    def pause_s(self, restarts: int) -> float:
        return self._node.pause_s(restarts)

    # Its life.

    def begin(self) -> None:
        with self._lock:
            if not self.is_over.is_set():
                self._threads[0].start()

    def _run(self) -> None:
        if not self._is_prepared():
            return
        for container in self._inits:
            if not container.run(is_init=True):
                if not self.is_over.is_set():
                    self._finish("Failed")
                return
            container.state.is_ready = True
        self._pod.is_initialized = True
        results: list[bool] = []
        threads = [
            threading.Thread(target=lambda one=one: results.append(one.run()))
            for one in self._containers
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if not self.is_over.is_set():
            self._finish("Succeeded" if all(results) else "Failed")

    def _finish(self, phase: str) -> None:
        self._pod.final_phase = phase
        self.report()

    def _is_prepared(self) -> bool:
        """Network and volumes are there; while something is missing it is waited for."""
        said = ""
        while not self.is_over.is_set():
            try:
                self.volumes = self.giver.prepare(self._folder / "volumes")
                if self._network is None and not self._is_on_host():
                    self._network = Network(self.address, self._ports(), self._api.port or 443)
                return True
            except (NotReadyError, ApiError, OSError, *Client.BROKEN) as failed:
                if str(failed) != said:
                    said = str(failed)
                    self.tell("FailedMount", f"MountVolume.SetUp failed: {said}")
            self.is_over.wait(_AGAIN_S)
        return False

    def _is_on_host(self) -> bool:
        return bool(self._pod.item["spec"].get("hostNetwork", False))

    def _ports(self) -> set[int]:
        found: set[int] = set()
        for spec in self._pod.item["spec"]["containers"]:
            found |= set(ports_of(spec).values()) | probed_ports(spec)
        return found

    def end(self, grace_s: float, on_gone: Callable[[], None]) -> None:
        thread = threading.Thread(target=self._end, args=(grace_s, on_gone))
        self._threads.append(thread)
        thread.start()

    def _end(self, grace_s: float, on_gone: Callable[[], None]) -> None:
        with self._lock:
            self.is_over.set()
            begun = [one for one in self._threads[:1] if one.ident is not None]
        stops = [
            threading.Thread(target=one.stop, args=(grace_s,))
            for one in (*self._inits, *self._containers)
        ]
        for stop in stops:
            stop.start()
        for thread in (*stops, *begun):
            thread.join()
        if self._network is not None:
            self._network.close()
        on_gone()

    def wait(self) -> None:
        """Until every thread of it has ended; it must have been told to."""
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    # For others.

    def container(self, name: str) -> Container:
        """KeyError: there is none of that name."""
        for one in (*self._inits, *self._containers):
            if one.state.name == name:
                return one
        raise KeyError(f"pod {self.name} has no container {name}")

    def kill(self) -> None:
        """As if every container crashed."""
        for one in self._containers:
            one.kill()
