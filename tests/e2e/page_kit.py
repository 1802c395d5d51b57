"""A control plane worth looking at: many instances, a canary that waits, one that is broken."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.plane import Engine, Plane, wait_until
from tests.e2e.serve_kit import Serve

CONTROL = """\
apiVersion: ctrlplane.dev/v1
kind: ControlPlane
metadata: {{name: {plane}}}
spec:
  providers:
    here: {{type: memory, path: world.json, neverReady: [instance/globex/broken]}}
  router: {{type: memory, path: router.json}}
"""
TENANT = """\
apiVersion: ctrlplane.dev/v1
kind: Tenant
metadata: {{name: {tenant}, labels: {{ring: early, plan: pro}}}}
spec:
  displayName: {title} Corp
  quota: {{instances: 12, cpu: "8", memory: 4Gi, domains: 5}}
---
apiVersion: ctrlplane.dev/v1
kind: Secret
metadata: {{tenant: {tenant}, name: database-url}}
spec: {{type: env, key: DATABASE_URL, from: {{env: PAGE_DATABASE_URL}}}}
"""
INSTANCE = """\
---
apiVersion: ctrlplane.dev/v1
kind: Instance
metadata: {{tenant: {tenant}, name: {name}}}
spec:
  replicas: {replicas}
  resources: {{cpu: 250m, memory: 128Mi}}
  ports: [{{name: http, port: 8080}}]
  secrets: [database-url]
---
apiVersion: ctrlplane.dev/v1
kind: Deployment
metadata: {{tenant: {tenant}, name: {name}}}
spec:
  instance: {name}
  image: registry.example.com/{name}:{version}
  strategy: {strategy}
---
apiVersion: ctrlplane.dev/v1
kind: Route
metadata: {{tenant: {tenant}, name: {name}}}
spec: {{instance: {name}, hosts: [{name}.{tenant}.example]}}
"""
NAMES = ("web", "api", "worker", "search")
TENANTS = ("acme", "globex", "initech", "umbrella", "hooli", "soylent", "wonka", "tyrell")
ROLLING = "{type: rolling, minReady: 0s, healthyDeadline: 2s}"
CANARY = (
    "{type: canary, minReady: 0s, canary: {steps: [{weight: 10, pause: 1s},"
    " {weight: 25, pause: manual}, {weight: 60, pause: 5m}]}}"
)
SECRET = "postgres://acme:pa55w0rd-of-nobody@db/acme"
WEB = "/tenants/acme/instances/web"


def tenant_file(name: str, version: str = "1.4.1") -> str:
    """One file: a tenant with its instances; ``web`` of acme is rolled out by a canary."""
    text = TENANT.format(tenant=name, title=name.title())
    for app in (*NAMES, *(("broken",) if name == "globex" else ())):
        is_canary = (name, app) == ("acme", "web")
        text += INSTANCE.format(
            tenant=name,
            name=app,
            replicas=4 if is_canary else 2,
            version=version if is_canary else "1.0",
            strategy=CANARY if is_canary else ROLLING,
        )
    return text


def build_plane(root: Path) -> Plane:
    """Committed, nothing applied."""
    plane = Plane(root, Engine("memory", {"path": "world.json"}))
    plane.name = "prod"
    plane.environ["PAGE_DATABASE_URL"] = SECRET
    plane.repo.mkdir()
    plane.git("init", "--quiet", "--initial-branch=main")
    plane.write("ctrlplane.yaml", CONTROL.format(plane=plane.name))
    for name in TENANTS:
        plane.write(f"tenants/{name}.yaml", tenant_file(name))
    plane.commit()
    return plane


def bring_up(plane: Plane, serve: Serve) -> None:
    """All that can run does; then a canary goes as far as it does by itself."""
    everybody = len(NAMES) * len(TENANTS)
    wait_until(lambda: f"{everybody}</b> running" in serve.get("/")[1], 60)
    plane.write("tenants/acme.yaml", tenant_file("acme", "1.4.2"))
    plane.commit()
    wait_until(lambda: 'class="stair-current"' in serve.get(WEB)[1], 60)
    wait_until(lambda: "25%" in serve.get(WEB)[1].split("Who gets")[-1].split("</ul>")[0], 60)
