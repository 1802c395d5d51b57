"""The specs these tests commit, as text: small, quick to become ready."""

from __future__ import annotations

CONTROL = """\
apiVersion: ctrlplane.dev/v1
kind: ControlPlane
metadata: {{name: {plane}}}
spec:
  providers:
    here: {provider}
  ignore: [app]
"""

TENANT = """\
apiVersion: ctrlplane.dev/v1
kind: Tenant
metadata: {{name: {tenant}}}
spec: {{displayName: {tenant} Inc}}
"""

WEB = """\
---
apiVersion: ctrlplane.dev/v1
kind: Instance
metadata: {{tenant: {tenant}, name: {name}}}
spec:
  replicas: {replicas}
  resources: {{memory: 128Mi}}
  ports: [{{name: http, port: 8080}}]
  env: {{GREETING: Hello from {tenant}, HEALTH: "200"}}
  files: [{{path: app/server.py, source: app/server.py}}]
  health: [{{name: ready, type: http, path: /healthz, interval: 500ms, timeout: 1s}}]
---
apiVersion: ctrlplane.dev/v1
kind: Deployment
metadata: {{tenant: {tenant}, name: {name}}}
spec:
  instance: {name}
  image: ctrlplane-test-app:1
  command: [python3, app/server.py]
  env: {{VERSION: "1"}}
  strategy:
    {{type: rolling, minReady: 200ms, healthyDeadline: 20s, progressDeadline: 40s, stopTimeout: 5s}}
"""

SECRET = """\
---
apiVersion: ctrlplane.dev/v1
kind: Secret
metadata: {{tenant: {tenant}, name: {name}}}
spec: {spec}
"""


def tenant(name: str, *instances: str, replicas: int = 1) -> str:
    """One file of specs: a tenant and its instances, ``web`` where none is named."""
    webs = [WEB.format(tenant=name, name=item, replicas=replicas) for item in instances or ("web",)]
    return TENANT.format(tenant=name) + "".join(webs)


def secret(tenant: str, name: str, spec: str) -> str:
    return SECRET.format(tenant=tenant, name=name, spec=spec)
