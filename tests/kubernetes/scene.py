"""A namespace of the rig, and what its own tests do there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.kubernetes.client import Object
from tests.kubernetes.rig import Rig
from tests.kubernetes.spec import deployment, is_available


class Scene:
    def __init__(self, rig: Rig, namespace: str) -> None:
        self.rig, self.client, self.namespace = rig, rig.client, namespace

    def deploy(self, name: str, image: str = "app:1", replicas: int = 1, **options: Any) -> None:
        self.client.apply(deployment(name, image, replicas, **options), self.namespace)

    def seen(self, name: str) -> Object:
        return self.client.get("Deployment", name, self.namespace)

    def settle(self, name: str) -> Object:
        """Until it is where it was told to go."""

        def look() -> Object | None:
            found = self.seen(name)
            return found if is_available(found) else None

        return self.client.wait(f"{name} to be available", look)

    def pods(self, name: str) -> list[Object]:
        return self.client.list("Pod", self.namespace, labelSelector=f"app={name}")

    def only_pod(self, name: str) -> str:
        """The name of the one pod, once it is available."""
        self.settle(name)
        return str(self.until_pod(name, lambda pod: True)["metadata"]["name"])

    def until_pod(self, name: str, holds: Callable[[Object], Any]) -> Object:
        def look() -> Object | None:
            return next((pod for pod in self.pods(name) if holds(pod)), None)

        return self.client.wait(f"a pod of {name}", look)

    def run(self, pod: str, *command: str) -> tuple[int, str, str]:
        """Exit code and both outputs of a command in a pod."""
        done = self.rig.kubectl("exec", "-n", self.namespace, pod, "--", *command)
        return done.returncode, done.stdout, done.stderr


def state(pod: Object) -> Object:
    """Of its only container."""
    return pod["status"].get("containerStatuses", [{}])[0]


def reason(pod: Object) -> str:
    """Why it waits, or ""."""
    return state(pod).get("state", {}).get("waiting", {}).get("reason", "")
