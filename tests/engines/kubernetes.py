"""A Kubernetes control plane: etcd, API server, controllers and scheduler, on loopback."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from ctrlplane_gitops.clock import monotonic_s, sleep
from tests.engines.program import MissingEngineError, free_port
from tests.kubernetes.certificate import Authority, new_key, write_key
from tests.kubernetes.client import Access, ApiError, Client, Object, path_of, read_kubeconfig

VERSION = "1.36.2"
PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")
SERVICES = "10.96.0.0/16"
_BUILD = Path(__file__).parents[1] / "kubernetes/assets/build.sh"
_USUAL = Path("/usr/local/kubebuilder/bin")
_PATIENCE_S = 60.0
# There is no cloud, no node that may be lost and no disk to attach.
_CONTROLLERS = (
    "*,-node-lifecycle-controller,-node-ipam-controller,-node-route-controller,"
    "-cloud-node-lifecycle-controller,-service-lb-controller,"
    "-persistentvolume-attach-detach-controller,-ttl-controller"
)


def assets_folder() -> Path:
    """Where the programs are built to: what ``build.sh`` says as well."""
    if named := os.environ.get("KUBEBUILDER_ASSETS"):
        return Path(named)
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / f"ctrlplane-gitops/kubernetes-{VERSION}"


def find_assets() -> Path:
    """The folder of the programs."""
    looked = [assets_folder()]
    if "KUBEBUILDER_ASSETS" not in os.environ:
        looked.append(_USUAL)
    for folder in looked:
        if all((folder / name).is_file() for name in PROGRAMS):
            return folder
    raise MissingEngineError(
        f"{', '.join(PROGRAMS)} are not all in {' or '.join(map(str, looked))}"
        f" (build them: {_BUILD.relative_to(Path.cwd()) if _is_below_here() else _BUILD};"
        " or USE_EXISTING_CLUSTER=true and KUBECONFIG)"
    )


def _is_below_here() -> bool:
    return _BUILD.is_relative_to(Path.cwd())


class Cluster:
    """An API server and somebody who may do everything there (``client``). ``root`` is for files
    of the session; ``assets`` is None where the cluster was there before."""

    def __init__(self, access: Access, root: Path, assets: Path | None = None) -> None:
        self.access, self.root, self.assets = access, root, assets
        self.client = Client(access)
        self.kubeconfig = write_kubeconfig(access, root / "admin.kubeconfig")

    def kubectl(self, *arguments: str, access: Access | None = None) -> subprocess.CompletedProcess:
        """The real client, as ``access`` or as admin; its exit code is the caller's business."""
        config = self.kubeconfig
        if access is not None:
            config = write_kubeconfig(access, self.root / f"{secrets.token_hex(4)}.kubeconfig")
        program = str(self.assets / "kubectl") if self.assets else shutil.which("kubectl")
        if program is None:
            raise MissingEngineError("'kubectl' is not installed")
        return subprocess.run(
            [program, f"--kubeconfig={config}", f"--cache-dir={self.root}/kubectl", *arguments],
            capture_output=True,
            text=True,
            timeout=60,
        )

    def make_namespace(self, prefix: str = "test", labels: dict[str, str] | None = None) -> str:
        """A name of its own; nobody waits for a namespace to go."""
        name = f"{prefix}-{secrets.token_hex(4)}"
        metadata = {"name": name, "labels": labels or {}}
        self.client.create({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        return name

    def token_of(self, name: str, namespace: str, seconds: int = 3600) -> str:
        """A service account's token, as a pod has one; the account is made when missing."""
        item = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}
        self.client.apply(item, namespace)
        path = f"{path_of('ServiceAccount', namespace, name)}/token"
        asked = {"spec": {"expirationSeconds": seconds}}
        return str(self.client.send("POST", path, asked)["status"]["token"])

    def make_account(self, rules: Sequence[Object], name: str = "user") -> Access:
        """Somebody who may do exactly what ``rules`` (of a ClusterRole) say, everywhere: a service
        account in a namespace of its own."""
        namespace = self.make_namespace("account")
        token = self.token_of(name, namespace)
        subject = {"kind": "ServiceAccount", "name": name, "namespace": namespace}
        self._bind(namespace, rules, subject)
        return Access(self.access.server, self.access.authority, token)

    def _bind(self, name: str, rules: Sequence[Object], subject: Object) -> None:
        group = "rbac.authorization.k8s.io"
        head = {"apiVersion": f"{group}/v1", "metadata": {"name": name}}
        self.client.apply({**head, "kind": "ClusterRole", "rules": list(rules)})
        role = {"apiGroup": group, "kind": "ClusterRole", "name": name}
        self.client.apply(
            {**head, "kind": "ClusterRoleBinding", "roleRef": role, "subjects": [subject]}
        )


class ControlPlane(Cluster):
    """One of our own. Its API server can be killed and started again, and its controllers."""

    def __init__(self, root: Path, assets: Path) -> None:
        self._folder = root
        self._authority = Authority(root)
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._ports = {name: free_port() for name in ("etcd", "peer", "api")}
        certificate, self._admin_key = self._authority.issue_client("admin", ("system:masters",))
        server = f"https://127.0.0.1:{self._ports['api']}"
        access = Access(server, self._authority.file, "", certificate, self._admin_key)
        super().__init__(access, root, assets)
        self._server_files = self._authority.issue_server("apiserver")
        self._signer = root / "service-accounts.key"
        write_key(self._signer, new_key())
        self._configs = {
            name: write_kubeconfig(self.access_of(f"system:{name}"), root / f"{name}.kubeconfig")
            for name in ("kube-controller-manager", "kube-scheduler")
        }

    def access_of(self, user: str, *groups: str) -> Access:
        """As that user, by a certificate: RBAC, fairness and all."""
        certificate, key = self._authority.issue_client(user, groups)
        return Access(self.access.server, self._authority.file, "", certificate, key)

    def make_user(self, name: str, rules: Sequence[Object]) -> Access:
        """Somebody with exactly the rights of ``rules``, everywhere."""
        subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name}
        self._bind(f"rig:{name}", rules, subject)
        return self.access_of(name)

    def issue_server(self, name: str) -> tuple[Path, Path]:
        """Certificate and key of a server on loopback."""
        return self._authority.issue_server(name)

    def start(self) -> None:
        """MissingEngineError with the log's end when a program does not come up."""
        self.start_etcd()
        self.start_api()
        self.start_controllers()
        self.start_scheduler()

    def stop(self) -> None:
        """Who asks before who answers: an API server without its etcd takes long to end."""
        for name in ("kube-scheduler", "kube-controller-manager", "kube-apiserver", "etcd"):
            self.end(name)
        self.client.close()

    def end(self, name: str, *, is_killed: bool = False) -> None:
        """Stop one program, or kill it."""
        process = self._running.pop(name, None)
        if process is None:
            return
        process.kill() if is_killed else process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    @contextmanager
    def frozen(self, name: str) -> Iterator[None]:
        """One program hears of nothing meanwhile, as on a machine that is very busy."""
        process = self._running[name]
        process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            process.send_signal(signal.SIGCONT)

    def kill_api(self) -> None:
        self.end("kube-apiserver", is_killed=True)

    def start_etcd(self) -> None:
        client, peer = (f"http://127.0.0.1:{self._ports[name]}" for name in ("etcd", "peer"))
        self._run(
            "etcd",
            "--unsafe-no-fsync",
            f"--data-dir={self._folder}/etcd",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--log-level=error",
        )
        self._await("etcd", lambda: _is_healthy(f"{client}/health"))

    def start_api(self, *flags: str) -> None:
        """Until it says it is ready. ``flags`` come last and so win."""
        certificate, key = self._server_files
        server = self.access.server
        self._run(
            "kube-apiserver",
            f"--etcd-servers=http://127.0.0.1:{self._ports['etcd']}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={self._ports['api']}",
            f"--tls-cert-file={certificate}",
            f"--tls-private-key-file={key}",
            f"--cert-dir={self._folder}",
            f"--client-ca-file={self._authority.file}",
            f"--service-account-issuer={server}",
            f"--service-account-key-file={self._signer}",
            f"--service-account-signing-key-file={self._signer}",
            "--authorization-mode=RBAC",
            f"--service-cluster-ip-range={SERVICES}",
            "--allow-privileged=true",
            "--endpoint-reconciler-type=none",
            "--kubelet-preferred-address-types=InternalIP",
            *flags,
        )
        self._await("kube-apiserver", self._is_ready)

    def start_controllers(self) -> None:
        self._run(
            "kube-controller-manager",
            *self._as_component("kube-controller-manager"),
            f"--service-account-private-key-file={self._signer}",
            f"--root-ca-file={self._authority.file}",
            f"--controllers={_CONTROLLERS}",
            "--use-service-account-credentials=true",
            "--kube-api-qps=1000",
            "--kube-api-burst=2000",
            "--concurrent-deployment-syncs=20",
            "--concurrent-replicaset-syncs=20",
            # Autoscalers look every 15 s otherwise, and do not believe a young pod for minutes.
            "--horizontal-pod-autoscaler-sync-period=1s",
            "--horizontal-pod-autoscaler-initial-readiness-delay=0s",
            "--horizontal-pod-autoscaler-cpu-initialization-period=0s",
        )

    def start_scheduler(self) -> None:
        limits = ("--kube-api-qps=1000", "--kube-api-burst=2000")
        self._run("kube-scheduler", *self._as_component("kube-scheduler"), *limits)

    def _as_component(self, name: str) -> list[str]:
        config = self._configs[name]
        flags = ("kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig")
        return [
            *(f"--{flag}={config}" for flag in flags),
            "--leader-elect=false",
            "--secure-port=0",
        ]

    def _is_ready(self) -> bool:
        try:
            return self.client.text("/readyz") == "ok"
        except (ApiError, *Client.BROKEN):
            return False

    def _run(self, name: str, *arguments: str) -> None:
        assert self.assets is not None and name not in self._running
        with (self._folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                [*_bound_to_us(), str(self.assets / name), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def _await(self, name: str, is_ready: Any) -> None:
        deadline = monotonic_s() + _PATIENCE_S
        while not is_ready():
            if self._running[name].poll() is not None or monotonic_s() > deadline:
                raise MissingEngineError(f"{name} does not start: {self.log(name)}")
            sleep(0.05)

    def log(self, name: str, length: int = 1500) -> str:
        """The end of what a program said."""
        return (self._folder / f"{name}.log").read_text(errors="replace")[-length:]

    def memory_bytes(self) -> dict[str, int]:
        """What each program holds."""
        found = {}
        for name, process in self._running.items():
            fields = Path(f"/proc/{process.pid}/statm").read_text().split()
            found[name] = int(fields[1]) * os.sysconf("SC_PAGE_SIZE")
        return found


def _bound_to_us() -> list[str]:
    """What is started with this before it ends with the thread that starts it, however that ends: a
    test that is killed cannot stop anything."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []


def write_kubeconfig(access: Access, path: Path, namespace: str = "default") -> Path:
    path.touch(mode=0o600)
    path.write_text(json.dumps(access.kubeconfig(namespace)))
    return path


def _is_healthy(url: str) -> bool:
    try:
        with urlopen(url, timeout=2) as answer:
            return json.load(answer)["health"] == "true"
    except (URLError, OSError, ValueError):
        return False


@contextmanager
def existing_cluster(root: Path) -> Iterator[Cluster]:
    """That of ``KUBECONFIG``, as ``USE_EXISTING_CLUSTER=true`` asks for."""
    path = Path(os.environ.get("KUBECONFIG") or Path.home() / ".kube/config")
    try:
        cluster = Cluster(read_kubeconfig(path, root), root)
        cluster.client.text("/readyz")
    except (KeyError, ValueError, ApiError, *Client.BROKEN) as failed:
        raise MissingEngineError(f"the cluster of {path} does not answer: {failed}") from None
    yield cluster
    cluster.client.close()


def is_existing() -> bool:
    return os.environ.get("USE_EXISTING_CLUSTER", "").lower() == "true"
