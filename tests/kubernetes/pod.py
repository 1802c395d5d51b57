"""One pod as its node knows it, and the status it says."""

from __future__ import annotations

import secrets
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tests.kubernetes.client import Object
from tests.kubernetes.image import image_id
from tests.kubernetes.log import Log

if TYPE_CHECKING:
    from tests.kubernetes.process_pod import ProcessPod

_LIMITS = ("requests", "limits")


def now_text() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class ContainerState:
    """``state`` and ``last`` are as the API has them: {"running": {...}}, {"waiting": ...}."""

    name: str
    image: str
    state: Object = field(default_factory=lambda: waiting("ContainerCreating"))
    last: Object = field(default_factory=dict)
    restarts: int = 0
    is_ready: bool = False
    is_started: bool = False
    id: str = ""
    logs: list[Log] = field(default_factory=list)

    def begin(self) -> None:
        """Runs from now on."""
        self.id = f"rig://{secrets.token_hex(16)}"
        self.logs.append(Log())
        self.state = {"running": {"startedAt": now_text()}}

    def end(self, code: int, trouble: str = "") -> None:
        """Has ended, or with ``trouble`` never began; not ready any more."""
        ended: Object = {
            "exitCode": code,
            "reason": "Completed" if code == 0 else "Error",
            "finishedAt": now_text(),
            "containerID": self.id,
        }
        if started := self.state.get("running", {}).get("startedAt"):
            ended["startedAt"] = started
        if trouble:
            ended |= {"reason": "StartError", "message": trouble}
        self.state = {"terminated": ended}
        self.logs[-1].close()
        self.is_ready = self.is_started = False

    def back_off(self, seconds: float) -> None:
        """Waits to be started again."""
        self.last = self.state
        text = f"back-off {seconds:g}s restarting failed container={self.name}"
        self.state = waiting("CrashLoopBackOff", text)

    def begin_again(self) -> None:
        if "terminated" in self.state:
            self.last = self.state
        self.restarts += 1
        self.begin()

    def log(self, is_previous: bool = False) -> Log:
        """Of this start, or the one before; KeyError where there was none."""
        wanted = 2 if is_previous else 1
        if len(self.logs) < wanted:
            raise KeyError(f"container {self.name} has no such log")
        return self.logs[-wanted]

    def status(self, spec: Object, is_known: bool) -> Object:
        found: Object = {
            "name": self.name,
            "image": self.image,
            "imageID": image_id(self.image) if is_known else "",
            "ready": self.is_ready,
            "started": self.is_started,
            "restartCount": self.restarts,
            "state": self.state,
            "lastState": self.last,
        }
        if self.id:
            found["containerID"] = self.id
            resources = spec.get("resources", {})
            found["resources"] = {name: resources.get(name, {}) for name in _LIMITS}
            found["allocatedResources"] = resources.get("requests", {})
        return found


def waiting(reason: str, message: str = "") -> Object:
    return {"waiting": {"reason": reason, **({"message": message} if message else {})}}


class PodState:
    """What is known of a pod. ``lock`` is for whoever changes it or reads more than one thing."""

    def __init__(self, item: Object, ip: str, host_ip: str) -> None:
        self.item, self.ip, self.host_ip = item, ip, host_ip
        self.lock = threading.RLock()
        self.saying = threading.Lock()
        spec = item["spec"]
        self.containers = {
            one["name"]: ContainerState(one["name"], one["image"]) for one in spec["containers"]
        }
        self.inits = {
            one["name"]: ContainerState(one["name"], one["image"])
            for one in spec.get("initContainers", ())
        }
        self.is_initialized = not self.inits
        self.final_phase = ""
        self.is_ending = False
        # Of one whose containers really run.
        self.running: ProcessPod | None = None
        self._started_at = now_text()
        self._turned: dict[str, tuple[bool, str]] = {}

    @property
    def uid(self) -> str:
        return str(self.item["metadata"]["uid"])

    @property
    def name(self) -> str:
        return str(self.item["metadata"]["name"])

    @property
    def namespace(self) -> str:
        return str(self.item["metadata"]["namespace"])

    @property
    def annotations(self) -> dict[str, str]:
        return dict(self.item["metadata"].get("annotations") or {})

    @property
    def phase(self) -> str:
        if self.final_phase:
            return self.final_phase
        has_run = any(one.id for one in self.containers.values())
        return "Running" if has_run else "Pending"

    @property
    def is_ready(self) -> bool:
        return (
            self.is_initialized
            and not self.final_phase
            and all(one.is_ready for one in self.containers.values())
        )

    def status(self) -> Object:
        """The patch for ``/status``; with the uid, so that nobody else's pod is meant."""
        with self.lock:
            found: Object = {
                "observedGeneration": self.item["metadata"].get("generation", 0),
                "phase": self.phase,
                "startTime": self._started_at,
                "hostIP": self.host_ip,
                "hostIPs": [{"ip": self.host_ip}],
                "conditions": self._conditions(),
                "containerStatuses": self._statuses("containers", self.containers),
            }
            if self.inits:
                found["initContainerStatuses"] = self._statuses("initContainers", self.inits)
            if self.phase != "Pending" or any(one.id for one in self.inits.values()):
                found |= {"podIP": self.ip, "podIPs": [{"ip": self.ip}]}
            return {"metadata": {"uid": self.uid}, "status": found}

    def _statuses(self, section: str, states: dict[str, ContainerState]) -> list[Object]:
        specs = {one["name"]: one for one in self.item["spec"][section]}
        return [one.status(specs[name], bool(one.id)) for name, one in states.items()]

    def _conditions(self) -> list[Object]:
        is_done = self.final_phase == "Succeeded"
        unready = [one.name for one in self.containers.values() if not one.is_ready]
        reason = "PodCompleted" if is_done else "ContainersNotReady"
        text = "" if is_done else f"containers with unready status: [{' '.join(unready)}]"
        rows: list[tuple[str, bool, str, str]] = [
            ("Initialized", self.is_initialized, "ContainersNotInitialized", ""),
            ("Ready", self.is_ready, reason, text),
            ("ContainersReady", self.is_ready, reason, text),
        ]
        return [self._condition(*row) for row in rows]

    def _condition(self, kind: str, holds: bool, reason: str, message: str) -> Object:
        if self._turned.get(kind, (None, ""))[0] != holds:
            self._turned[kind] = (holds, now_text())
        found: dict[str, Any] = {
            "type": kind,
            "status": "True" if holds else "False",
            "lastProbeTime": None,
            "lastTransitionTime": self._turned[kind][1],
            "reason": None if holds else reason,
            "message": None if holds or not message else message,
        }
        return found
