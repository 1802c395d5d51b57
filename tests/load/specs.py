"""The specs of an instance with traffic, as text: what its tests and its bench row commit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.engines.program import free_port
from tests.load.replica import WEB_APP

PLANE_FILE, WEB_FILE, APP_FILE = "ctrlplane.yaml", "tenants/acme.yaml", "app/web_app.py"
HOST = "shop.acme.example"
WEB = "instance/acme/web"

# Of each strategy what is its own. The pauses are long enough for a share to be counted.
STRATEGIES = {
    "rolling": "rolling: {maxSurge: 1, maxUnavailable: 0}",
    "blueGreen": "blueGreen: {autoPromote: true, bakeTime: 1s, scaleDownDelay: 1s}",
    "canary": "canary: {steps: [{weight: 10, pause: 2s}, {weight: 50, pause: 2s}, {weight: 100}]}",
}

_PLANE = """\
apiVersion: ctrlplane.dev/v1
kind: ControlPlane
metadata: {{name: {plane}}}
spec:
  providers: {{here: {provider}}}
  router: {router}
  ignore: [app]
"""

_WEB = """\
apiVersion: ctrlplane.dev/v1
kind: Tenant
metadata: {{name: acme}}
spec: {{displayName: Acme}}
---
apiVersion: ctrlplane.dev/v1
kind: Instance
metadata: {{tenant: acme, name: web}}
spec:
  replicas: {replicas}
  ports: [{{name: http, port: 8080}}]
  files: [{{path: app/web_app.py, source: app/web_app.py}}]
  health: [{{name: ready, type: http, port: http, path: /healthz, interval: 1s, timeout: 2s}}]
---
apiVersion: ctrlplane.dev/v1
kind: Deployment
metadata: {{tenant: acme, name: web}}
spec:
  instance: web
  image: ctrlplane-test-app:1
  command: [python3, app/web_app.py]
  env: {env}
  strategy:
    type: {strategy}
    minReady: 1s
    healthyDeadline: 30s
    progressDeadline: 2m
    drainTimeout: {drain}
    stopTimeout: 10s
    {block}
---
apiVersion: ctrlplane.dev/v1
kind: Route
metadata: {{tenant: acme, name: web}}
spec: {{instance: web, hosts: [{host}], port: http}}
"""


@dataclass(frozen=True, slots=True)
class Traffic:
    """A control plane with one routed instance. ``provider`` and ``router`` are options with their
    ``type``, as ``spec.providers`` and ``spec.router`` have them; ``port`` is where requests come
    in, and what the control plane is named after. ``block`` is what the strategy's own fields are,
    those of STRATEGIES where left out. ``drain`` must outlast the slowest request where nobody can
    count what is in flight."""

    provider: Mapping[str, object]
    router: Mapping[str, object]
    strategy: str
    port: int = field(default_factory=free_port)
    replicas: int = 3
    drain: str = "5s"
    env: Mapping[str, str] = field(default_factory=dict)
    block: str = ""

    @property
    def plane(self) -> str:
        return f"traffic-{self.port}"

    def files(self, version: str = "1", **env: str) -> dict[str, str]:
        """Everything that is committed, by path."""
        return {
            APP_FILE: WEB_APP.read_text(),
            PLANE_FILE: self.plane_text(),
            WEB_FILE: self.web_text(version, **env),
        }

    def plane_text(self) -> str:
        router = {**self.router, "entryPoints": {"web": f"127.0.0.1:{self.port}"}}
        return _PLANE.format(
            plane=self.plane, provider=json.dumps(dict(self.provider)), router=json.dumps(router)
        )

    def web_text(self, version: str, **env: str) -> str:
        """With another ``version``, or more of ``env``, it is a new release."""
        return _WEB.format(
            replicas=self.replicas,
            env=json.dumps({"VERSION": version, **self.env, **env}),
            strategy=self.strategy,
            block=self.block or STRATEGIES[self.strategy],
            drain=self.drain,
            host=HOST,
        )
