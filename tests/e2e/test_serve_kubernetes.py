"""``serve`` as a pod of the manifests we ship: as its service account, with their rights alone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.hook_kit import SECRET, Origin
from tests.e2e.plane import Engine, Plane, wait_until
from tests.kubernetes import isolation
from tests.kubernetes.client import Object
from tests.kubernetes.image import Image
from tests.kubernetes.kubelet import reachable
from tests.kubernetes.pod import PodState
from tests.kubernetes.rig import Rig
from tests.kubernetes.role import FOLDER

pytestmark = pytest.mark.kubernetes
SYSTEM, NAME = "ctrlplane-system", "ctrlplane-gitops"
ROOT = Path(__file__).parents[2]
FILE = "tenants/acme.yaml"


class Home:
    """The pod that serves ``plane``, and how it is spoken to."""

    def __init__(self, rig: Rig, plane: Plane) -> None:
        self.rig, self.plane = rig, plane
        self.origin = Origin(plane)
        self._manifest = plane.root / "serve.yaml"
        self.replicas = 2

    def begin(self) -> None:
        """As the README has it."""
        text, place = (FOLDER / "serve.yaml").read_text(), "https://git.example.com/prod.git"
        assert text.count(place) == 1
        self._manifest.write_text(text.replace(place, f"file://{self.origin.path}"))
        self.kubectl("apply", "-f", str(FOLDER / "namespace.yaml"))
        settings = ("CTRLPLANE_ALLOW_FILE_URLS=1", f"CTRLPLANE_WEBHOOK_SECRET={SECRET}")
        literals = [f"--from-literal={setting}" for setting in settings]
        self.kubectl("-n", SYSTEM, "create", "secret", "generic", NAME, *literals)
        for path in (FOLDER / "role.yaml", FOLDER / "rbac.yaml", self._manifest):
            self.kubectl("apply", "-f", str(path))

    def end(self) -> None:
        self.rig.kubectl("-n", SYSTEM, "delete", "secret", NAME)
        self.kubectl("delete", "-f", str(self._manifest))
        wait_until(lambda: not self.pods())

    def kubectl(self, *arguments: str) -> str:
        done = self.rig.kubectl(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def pods(self) -> list[Object]:
        labels = f"app.kubernetes.io/name={NAME}"
        return self.rig.client.list("Pod", SYSTEM, labelSelector=labels)

    def wait_ready(self) -> Object:
        """The one pod, once the node has heard from it that it is ready."""
        found: list[Object] = []

        def look() -> bool:
            found[:] = self.pods()
            return len(found) == 1 and is_ready(found[0])

        try:
            wait_until(look)
        except AssertionError:
            states = [item["status"] for item in found]
            raise AssertionError(f"{states}\n{self.logs()}") from None
        return found[0]

    @property
    def state(self) -> PodState:
        """What the node knows of it."""
        state = self.rig.kubelet.find(SYSTEM, self.wait_ready()["metadata"]["name"])
        assert state is not None
        return state

    def logs(self) -> str:
        return self.rig.kubectl("-n", SYSTEM, "logs", f"deployment/{NAME}").stdout

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return self.rig.kubectl("-n", SYSTEM, "exec", f"deployment/{NAME}", "--", *command)

    def scale(self) -> None:
        """A commit that asks for one replica more, which the origin tells the pod of."""
        pod = self.wait_ready()
        self.origin.tell(reachable(f"http://{pod['status']['podIP']}:8321"))
        now, self.replicas = self.replicas, self.replicas + 1
        self.plane.edit(FILE, f"replicas: {now}", f"replicas: {self.replicas}")
        self.origin.push()
        self.wait_converged()

    def wait_converged(self) -> None:
        def look() -> bool:
            [made] = self.made() or [{}]
            return bool(made.get("status", {}).get("availableReplicas") == self.replicas)

        try:
            wait_until(look)
        except AssertionError:
            raise AssertionError(self.logs()) from None

    def made(self) -> list[Object]:
        """The Deployments of the tenant."""
        return self.rig.client.list("Deployment", f"{self.plane.name}-acme")


def is_ready(pod: Object) -> bool:
    conditions: list[Any] = pod["status"].get("conditions") or []
    return any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)


@pytest.fixture(scope="module")
def home(kubernetes_rig: Rig, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    if trouble := isolation.trouble():
        pytest.skip(f"containers cannot be isolated here: {trouble}")
    environ = {"CTRLPLANE_KUBECONFIG": str(kubernetes_rig.kubeconfig)}
    plane = Plane(tmp_path_factory.mktemp("home"), Engine("kubernetes", environ=environ))
    kubernetes_rig.kubelet.images[NAME] = Image(
        is_run=True,
        entrypoint=(sys.executable, "-m", "ctrlplane_gitops"),
        env={"PYTHONPATH": str(ROOT)},
        folders=(str(ROOT), str(plane.root)),
    )
    try:
        plane.begin("acme", replicas=2)
        home = Home(kubernetes_rig, plane)
        try:
            home.begin()
            rollout = ("rollout", "status", f"deployment/{NAME}", "--timeout=60s")
            home.kubectl("-n", SYSTEM, *rollout)
            yield home
        finally:
            home.end()
    finally:
        plane.close()


def test_it_does_what_git_says_and_tells_in_its_log(home: Home) -> None:
    home.wait_converged()
    assert home.rig.client.get("Deployment", NAME, SYSTEM)["status"]["availableReplicas"] == 1
    home.scale()
    assert "scaled to" in home.logs() and "Traceback" not in home.logs()


def test_every_verb_may_be_used_in_its_pod(home: Home) -> None:
    home.wait_converged()
    wait_until(lambda: home.run("ctrlplane-gitops", "plan", "--detailed-exitcode").returncode == 0)
    done = home.run("ctrlplane-gitops", "status")
    assert f"{home.replicas}/{home.replicas}" in done.stdout, done.stdout + done.stderr


def test_a_pod_that_follows_another_makes_nothing_twice(home: Home) -> None:
    home.wait_converged()
    before, before_uids = home.state, [item["metadata"]["uid"] for item in home.made()]
    home.kubectl("-n", SYSTEM, "delete", "pod", before.name)
    ended = before.containers["serve"].state["terminated"]
    assert ended["exitCode"] == 0, ended
    assert home.state.name != before.name
    home.scale()
    assert [item["metadata"]["uid"] for item in home.made()] == before_uids
    assert [item["metadata"]["name"] for item in home.made()] == ["web-v1"]
    assert "replicas.scaled" in home.logs() and "release.prepared" not in home.logs()


def test_a_token_that_the_node_has_replaced_is_taken(home: Home) -> None:
    state = home.state
    assert state.running is not None
    [token] = [
        place / "token" for place in state.running.volumes.values() if (place / "token").exists()
    ]
    # Who has that name from now on is somebody else: the old token is worth nothing.
    home.rig.client.delete("ServiceAccount", NAME, SYSTEM)
    fresh = token.with_name("fresh")
    fresh.write_text(home.rig.token_of(NAME, SYSTEM))
    fresh.replace(token)
    # It remembers for ten seconds whom it has let in.
    home.rig.kill_api()
    home.rig.start_api()
    home.scale()
    assert home.state.name == state.name and state.containers["serve"].restarts == 0
