"""Control planes of pods that only say they run, behind a server that counts and can fail."""

from __future__ import annotations

import secrets
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from tests.e2e import specs
from tests.e2e.plane import Done, Engine, Plane, wait_until
from tests.kubernetes.client import Access, ApiError, Client, Object
from tests.kubernetes.front import Front
from tests.kubernetes.rig import Rig
from tests.kubernetes.role import role_access

FAIRNESS = "flowcontrol.apiserver.k8s.io/v1"
ADMISSION = "admissionregistration.k8s.io/v1"
RULE = "frozen until Monday"
_HEADER = "apiVersion: ctrlplane.dev/v1\n"


def tenant(name: str, *, replicas: int = 1, version: str = "1") -> str:
    """A tenant with one instance that has something of everything."""
    return (
        f"{_HEADER}kind: Tenant\nmetadata: {{name: {name}}}\nspec: {{}}\n---\n"
        f"{_HEADER}kind: Instance\nmetadata: {{tenant: {name}, name: web}}\n"
        f"spec:\n  replicas: {replicas}\n  ports: [{{name: http, port: 8080}}]\n"
        "  secrets: [token]\n  files: [{path: conf/app.txt, content: hello}]\n---\n"
        f"{_HEADER}kind: Deployment\nmetadata: {{tenant: {name}, name: web}}\n"
        f"spec:\n  instance: web\n  image: 'app:1'\n  env: {{VERSION: '{version}'}}\n"
        "  strategy: {type: rolling, minReady: 0s, progressDeadline: 3m, healthyDeadline: 2m,"
        " stopTimeout: 1s, drainTimeout: 1s}\n---\n"
        f"{_HEADER}kind: Secret\nmetadata: {{tenant: {name}, name: token}}\n"
        "spec: {type: env, key: TOKEN, from: {env: SHOP_TOKEN}}\n"
    )


class KubernetesPlane(Plane):
    """``front`` is where it believes the API server to be."""

    def __init__(self, root: Path, rig: Rig, front: Front) -> None:
        environ = {"CTRLPLANE_KUBECONFIG": str(front.kubeconfig), "SHOP_TOKEN": "hunter22"}
        super().__init__(root, Engine("kubernetes", environ=environ))
        self.rig, self.front = rig, front

    def found(self, *tenants: str, replicas: int = 1) -> None:
        self.repo.mkdir()
        self.git("init", "--quiet", "--initial-branch=main")
        control = specs.CONTROL.format(plane=self.name, provider=self.engine.line)
        self.write("ctrlplane.yaml", control)
        for name in tenants:
            self.write(f"tenants/{name}.yaml", tenant(name, replicas=replicas))
        self.commit()

    def release(self, name: str, version: str) -> None:
        self.write(f"tenants/{name}.yaml", tenant(name, version=version))
        self.commit()

    def namespace(self, tenant: str = "acme") -> str:
        return f"{self.name}-{tenant}"

    def names(self, kind: str, tenant: str = "acme") -> list[str]:
        found = self.rig.client.list(kind, self.namespace(tenant))
        return sorted(it["metadata"]["name"] for it in found)

    def versions(self, tenant: str = "acme") -> list[str]:
        """What each pod that stays is of."""
        found = []
        for pod in self.rig.client.list("Pod", self.namespace(tenant)):
            if "deletionTimestamp" not in pod["metadata"]:
                env = pod["spec"]["containers"][0]["env"]
                found.append(next(it["value"] for it in env if it["name"] == "VERSION"))
        return sorted(found)

    def pass_over(self) -> tuple[Done, list[str]]:
        """An apply, and what it wrote."""
        self.front.forget()
        return self.apply(), self.front.writes()

    def hold(self, kind: str, name: str, finalizers: list[str] | None) -> None:
        """None lets it go."""
        change = {"metadata": {"finalizers": finalizers}}
        self.rig.client.patch(kind, name, change, self.namespace())

    def close(self) -> None:
        self.front.rules.clear()
        super().close()

    @contextmanager
    def frozen(self, tenant: str = "acme") -> Iterator[None]:
        """A policy of the cluster lets nobody touch Deployments there; the namespace exists."""
        client, name = self.rig.client, f"frozen-{secrets.token_hex(4)}"
        where = {"kubernetes.io/metadata.name": self.namespace(tenant)}
        rule = {"apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"]}
        spec = {
            "matchConstraints": {
                "namespaceSelector": {"matchLabels": where},
                "resourceRules": [rule | {"operations": ["CREATE", "UPDATE"]}],
            },
            "validations": [{"expression": "false", "message": RULE}],
        }
        head: Object = {"apiVersion": ADMISSION, "metadata": {"name": name}}
        client.apply(head | {"kind": "ValidatingAdmissionPolicy", "spec": spec})
        binding = {"policyName": name, "validationActions": ["Deny"]}
        client.apply(head | {"kind": "ValidatingAdmissionPolicyBinding", "spec": binding})
        try:
            wait_until(lambda: self._is_frozen(tenant))
            yield
        finally:
            client.delete("ValidatingAdmissionPolicyBinding", name)
            client.delete("ValidatingAdmissionPolicy", name)
        wait_until(lambda: not self._is_frozen(tenant))

    @contextmanager
    def crowded(self, verbs: Sequence[str]) -> Iterator[None]:
        """The server's own priority and fairness has no seat for what the role asks for with these
        verbs."""
        client, name = self.rig.client, f"crowded-{secrets.token_hex(4)}"
        head: Object = {"apiVersion": FAIRNESS, "metadata": {"name": name}}
        limits = {"nominalConcurrencyShares": 0, "borrowingLimitPercent": 0}
        limits["limitResponse"] = {"type": "Reject"}
        level = {"type": "Limited", "limited": limits}
        client.apply(head | {"kind": "PriorityLevelConfiguration", "spec": level})
        rule = {"verbs": [*verbs], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"]}
        whose = {"kind": "User", "user": {"name": "shipped-role"}}
        flow = {
            "priorityLevelConfiguration": {"name": name},
            "matchingPrecedence": 2,
            "rules": [{"subjects": [whose], "resourceRules": [rule | {"clusterScope": True}]}],
        }
        client.apply(head | {"kind": "FlowSchema", "spec": flow})
        try:
            # Made once: each time it is a certificate of its own in the same file.
            access = role_access(self.rig)
            with self._waiting_long(access):
                wait_until(lambda: _is_crowded(access))
                yield
        finally:
            client.delete("FlowSchema", name)
            client.delete("PriorityLevelConfiguration", name)

    @contextmanager
    def _waiting_long(self, access: Access) -> Iterator[None]:
        """Somebody with the role's rights asks for what takes long: a webhook that never answers is
        to be asked. Where there is no seat one is let in all the same, as long as it is alone."""
        client, name = self.rig.client, f"slow-{secrets.token_hex(4)}"
        with closing(socket.create_server(("127.0.0.1", 0))) as server:
            hook = {
                "name": "slow.example.com",
                "clientConfig": {"url": f"https://127.0.0.1:{server.getsockname()[1]}/"},
                "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"],
                           "resources": ["configmaps"]}],
                "objectSelector": {"matchLabels": {"slow": name}},
                "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
                "failurePolicy": "Ignore",
                "timeoutSeconds": 30,
            }  # fmt: skip
            head: Object = {"apiVersion": ADMISSION, "metadata": {"name": name}}
            client.apply(head | {"kind": "ValidatingWebhookConfiguration", "webhooks": [hook]})
            is_over = threading.Event()
            asking = threading.Thread(target=_ask_slowly, args=(access, name, is_over))
            asking.start()
            try:
                yield
            finally:
                is_over.set()
                client.delete("ValidatingWebhookConfiguration", name)
        asking.join()

    def _is_frozen(self, tenant: str) -> bool:
        """Policies come into force, and out of it, a moment later."""
        pod = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "a"}]}}
        pod["spec"]["containers"][0]["image"] = "a"  # type: ignore[index]
        spec = {"selector": {"matchLabels": {"a": "b"}}, "template": pod}
        item = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "try"}}
        path = f"/apis/apps/v1/namespaces/{self.namespace(tenant)}/deployments"
        try:
            self.rig.client.send("POST", path, item | {"spec": spec}, dryRun="All")
        except ApiError as refused:
            return RULE in str(refused)
        return False


def of_tenant(writes: list[str], plane: KubernetesPlane, tenant: str) -> list[str]:
    return [item for item in writes if f"/{plane.namespace(tenant)}" in item]


def _ask_slowly(access: Access, name: str, is_over: threading.Event) -> None:
    """Again and again: a webhook comes into force a moment after it was made."""
    metadata = {"name": name, "labels": {"slow": name}}
    item = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
    path = "/api/v1/namespaces/default/configmaps"
    with closing(Client(access)) as client:
        while not is_over.wait(0.05):
            with suppress(ApiError):
                client.send("POST", path, item, dryRun="All")


def _is_crowded(access: Access) -> bool:
    item = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "try"}}
    with closing(Client(access)) as client:
        try:
            client.send("POST", "/api/v1/namespaces", item, dryRun="All")
        except ApiError as refused:
            return refused.status == 429
    return False
