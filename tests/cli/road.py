"""A folder whose instance has a route, on the memory provider and the memory router."""

from __future__ import annotations

import json
from dataclasses import dataclass

from ctrlplane_gitops.network.codec import decode_table
from tests.cli.folder import WEB, Folder
from tests.e2e.crash_kit import MEMORY, tenant

HEADER = "apiVersion: ctrlplane.dev/v1\n"
CANARY = "type: canary, canary: {steps: [{weight: 25, pause: manual}, {weight: 50, pause: manual}]}"
GREEN = "type: blueGreen, blueGreen: {autoPromote: false, scaleDownDelay: 0s}"
ROLLING = "type: rolling"
QUICK = (
    "minReady: 0s, drainTimeout: 200ms, stopTimeout: 1s,"
    " healthyDeadline: 10s, progressDeadline: 20s"
)


@dataclass
class Road(Folder):
    """``release`` is what Git says now."""

    strategy: str = CANARY
    replicas: int = 4
    provider: str = MEMORY.provider
    router: str = "{type: memory, path: router.json}"

    def release(self, version: str, name: str = "acme") -> None:
        """Git wants this version of ``instance/acme/web``, with its replicas and a route."""
        meta = f"metadata: {{tenant: {name}, name: web}}\n"
        (self.repo / "ctrlplane.yaml").write_text(
            f"{HEADER}kind: ControlPlane\nmetadata: {{name: {self.plane}}}\n"
            f"spec: {{providers: {{local: {self.provider}}}, router: {self.router}}}\n"
        )
        (self.repo / f"{name}.yaml").write_text(
            f"{tenant(name)}"
            f"{HEADER}kind: Instance\n{meta}"
            f"spec: {{replicas: {self.replicas}, ports: [{{name: http, port: 80}}]}}\n---\n"
            f"{HEADER}kind: Deployment\n{meta}"
            f"spec: {{instance: web, image: app, env: {{VERSION: '{version}'}},"
            f" strategy: {{{self.strategy}, {QUICK}}}}}\n---\n"
            f"{HEADER}kind: Route\n{meta}"
            f"spec: {{instance: web, hosts: [{name}.test], previewHosts: [green.{name}.test]}}\n"
        )

    def shares(self) -> dict[int, int]:
        """What each release gets of the requests, in percent."""
        (path,) = (self.root / "state").rglob("router.json")
        table = decode_table(json.loads(path.read_text())["served"])
        (entry,) = (item for item in table.entries if not item.variant)
        return {item.release: item.weight for item in entry.backends}

    def worlds(self) -> tuple[int, int]:
        """How often replicas and routes were changed."""
        (replicas,) = (self.root / "state").rglob("world.json")
        (routes,) = (self.root / "state").rglob("router.json")
        changed = json.loads(replicas.read_text())["effects"]
        return changed, json.loads(routes.read_text())["applies"]

    def events(self) -> list[str]:
        """The types of what happened to the rollouts, oldest first."""
        found = json.loads(self.ok("events", WEB, "--json"))["events"]
        types = [item["type"] for item in found]
        return [item for item in types if item.startswith("rollout.")]

    def audit(self) -> list[tuple[str, str]]:
        """Who asked what, oldest first."""
        found = json.loads(self.ok("history", "--audit", "--json"))["audit"]
        return [(item["actor"], item["action"]) for item in found if item["outcome"] == "told"]

    def condition(self) -> str:
        """What status says of the rollout."""
        (instance,) = json.loads(self.ok("status", "--json"))["instances"]
        texts = {item["type"]: item["message"] for item in instance["conditions"]}
        return str(texts.get("Progressing") or texts.get("RolledBack") or "")
