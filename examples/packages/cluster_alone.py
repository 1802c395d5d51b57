"""cluster alone: which API server an operator's kubeconfig names, and what a list asks of it."""

import tempfile
from pathlib import Path

from ctrlplane_gitops.cluster.access import find_access
from ctrlplane_gitops.cluster.resource import DEPLOYMENT, label_selector

KUBECONFIG = """\
apiVersion: v1
kind: Config
clusters: [{name: prod, cluster: {server: "https://kube.example.com:6443"}}]
users: [{name: deployer, user: {token: not-shown}}]
contexts: [{name: prod, context: {cluster: prod, user: deployer}}]
"""

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder, "kubeconfig")
    path.write_text(KUBECONFIG)
    environ = {"CTRLPLANE_KUBECONFIG": str(path), "CTRLPLANE_KUBE_CONTEXT": "prod"}
    access = find_access("kube", environ)

print(access.server + DEPLOYMENT.path("demo-acme"))
print(label_selector({"ctrlplane.dev/plane": "demo"}))
assert "not-shown" not in repr(access)
