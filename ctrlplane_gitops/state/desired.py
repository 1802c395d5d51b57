"""What Git says, with every reference resolved and every default filled in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeAlias

from ctrlplane_gitops.diagnostics import Origin
from ctrlplane_gitops.state.access import AccessToken
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.template import ReleaseTemplate
from ctrlplane_gitops.state.text import Text, read_text
from ctrlplane_gitops.state.traffic import RouteHealth
from ctrlplane_gitops.units import CountOrPercent, format_bytes, format_cpu
from ctrlplane_gitops.value import field, struct

if TYPE_CHECKING:  # most commands meet no canary, and these are ten classes more
    from ctrlplane_gitops.state.analysis import Analysis

Json: TypeAlias = Mapping[str, Any]


@struct
class Resources:
    """Limits; None means not limited."""

    cpu_millicores: int | None = None
    memory_bytes: int | None = None


def read_replicas(declared: int | Json) -> tuple[int, bool]:
    """From ``spec.replicas`` of an instance: how many to begin with, and whether an autoscaler
    decides how many there are from then on.

    >>> read_replicas(3), read_replicas({"owner": "autoscaler", "initial": 2})
    ((3, False), (2, True))
    """
    if isinstance(declared, int):
        return declared, False
    return int(declared["initial"]), True


@struct
class Allowance:
    """What all replicas of a tenant may have together; None means not limited."""

    cpu_millicores: int | None = None
    memory_bytes: int | None = None
    disk_bytes: int | None = None

    def __str__(self) -> str:
        cpu, memory, disk = self.cpu_millicores, self.memory_bytes, self.disk_bytes
        parts = [
            "" if cpu is None else f"cpu {format_cpu(cpu)}",
            "" if memory is None else f"memory {format_bytes(memory)}",
            "" if disk is None else f"disk {format_bytes(disk)}",
        ]
        return ", ".join(filter(None, parts)) or "none"


class ProbeType(StrEnum):
    HTTP = "http"
    TCP = "tcp"
    GRPC = "grpc"
    COMMAND = "command"


@struct
class HealthCheck:
    """A probe run by us. ``retries`` consecutive failures make a replica unhealthy, one success
    makes it healthy. ``statuses`` is the inclusive range of HTTP status codes that pass;
    ``service`` is what a gRPC server is asked about, "" for the server as a whole."""

    name: str
    type: ProbeType
    port: str = ""
    path: str = "/"
    command: tuple[str, ...] = ()
    interval: timedelta = timedelta(seconds=5)
    timeout: timedelta = timedelta(seconds=2)
    retries: int = 3
    statuses: tuple[int, int] = (200, 399)
    service: str = ""


class StrategyType(StrEnum):
    RECREATE = "recreate"
    ROLLING = "rolling"
    BLUE_GREEN = "blueGreen"
    CANARY = "canary"


@struct
class CanaryStep:
    """``weight`` is the new release's share of the requests in percent; ``pause`` is how long it
    stays so, None until somebody promotes."""

    weight: int
    pause: timedelta | None = timedelta()


@struct
class RolloutParams:
    """How to get from one release to the next; names and defaults after Nomad, Kubernetes and Argo
    Rollouts. ``analysis`` is what a canary is judged by, None for nothing but its health."""

    type: StrategyType = StrategyType.ROLLING
    min_ready: timedelta = timedelta(seconds=10)
    healthy_deadline: timedelta = timedelta(minutes=5)
    progress_deadline: timedelta = timedelta(minutes=10)
    drain_timeout: timedelta = timedelta(seconds=30)
    stop_timeout: timedelta = timedelta(seconds=30)
    is_auto_rollback: bool = True
    revision_history_limit: int = 10
    max_surge: CountOrPercent = CountOrPercent(25, is_percent=True)
    max_unavailable: CountOrPercent = CountOrPercent(0)
    is_auto_promote: bool = True
    scale_down_delay: timedelta = timedelta(seconds=30)
    bake_time: timedelta = timedelta()
    canary_steps: tuple[CanaryStep, ...] = (
        CanaryStep(10, timedelta(minutes=2)),
        CanaryStep(50, timedelta(minutes=2)),
        CanaryStep(100),
    )
    analysis: Analysis | None = None


@struct
class DesiredResource:
    """What every kind has. ``attributes_json`` is the normalised spec (camelCase, no secret value)
    as canonical JSON: what is recorded and what ``fingerprint`` hashes. It is parsed only when a
    plan compares field by field: as values it would take five times the space. ``text`` is how it
    is kept."""

    key: ResourceKey
    text: Text
    fingerprint: str
    origin: Origin
    is_protected: bool = False

    @property
    def attributes_json(self) -> str:
        return read_text(self.text)

    @property
    def attributes(self) -> Json:
        loaded: Json = json.loads(self.attributes_json)
        return loaded


@struct
class DesiredRoute:
    """A route that the router is to serve; the fields are those of ``RouteEntry``. ``port`` names
    a port of the instance. ``canary_header`` (name, value) marks requests for the release that is
    being rolled out, and so do requests to ``preview_hosts``."""

    key: ResourceKey
    hosts: tuple[str, ...]
    path: str
    port: str
    entry_point: str = "web"
    strip_prefix: bool = False
    certificate: ResourceKey | None = None
    is_sticky: bool = False
    canary_header: tuple[str, str] | None = None
    preview_hosts: tuple[str, ...] = ()
    health: RouteHealth | None = None


@struct
class DesiredInstance:
    """A running application: its own row, its deployment's row, and what they mean together.

    ``template`` and ``revision`` are None when no Deployment names this instance: it runs nothing.
    ``replicas`` is what should run now: 0 when the tenant is suspended. ``is_autoscaled``: somebody
    else decides how many there are, and ``replicas`` is only what to begin with. ``routes`` are
    sorted by name; there are none where the control plane has no router. ``is_drift_observed``:
    whoever applies without being asked reports drift and leaves it. ``allowance`` is what its
    tenant may have, for providers that hold it to that.
    """

    resource: DesiredResource
    provider: str
    replicas: int
    resources: Resources
    health: tuple[HealthCheck, ...]
    depends_on: tuple[ResourceKey, ...]
    deployment: DesiredResource | None = None
    template: ReleaseTemplate | None = None
    revision: str | None = None
    params: RolloutParams = RolloutParams()
    is_suspended: bool = False
    is_drift_observed: bool = False
    routes: tuple[DesiredRoute, ...] = ()
    is_autoscaled: bool = False
    allowance: Allowance = Allowance()

    @property
    def key(self) -> ResourceKey:
        return self.resource.key

    @property
    def has_preview(self) -> bool:
        """Whether some requests are meant for the release that is being rolled out."""
        return any(item.preview_hosts or item.canary_header for item in self.routes)


@struct
class SecretRef:
    """Where a secret's value comes from: ``backend`` is ``env`` (``locator`` is a variable of the
    controller's environment) or ``file`` (``locator`` is a path, see ``secrets/file.py``)."""

    key: ResourceKey
    backend: str
    locator: str


@struct
class ProviderConfig:
    """A provider as ``spec.providers`` names it; ``options`` is everything but ``type``."""

    alias: str
    type: str
    options: Json = field(default_factory=dict)


@struct
class RouterConfig:
    """``spec.router``; ``options`` is everything but ``type``."""

    type: str
    options: Json = field(default_factory=dict)


@struct
class Notification:
    """A subscription of ``spec.notifications``: who is told of what.

    ``url`` is where, or ``url_ref`` where that is to be had ("" and None: the other one).
    ``secret`` is where the key is that messages are signed with. ``events`` are types and
    ``tenants`` names, both with globs. ``headers`` go along with each message."""

    name: str
    events: tuple[str, ...]
    secret: SecretRef
    url: str = ""
    url_ref: SecretRef | None = None
    tenants: tuple[str, ...] = ("*",)
    headers: Mapping[str, str] = field(default_factory=dict)


@struct
class PrunePolicy:
    """``max_delete_percent`` of what is recorded, or 10 objects where that is more."""

    max_delete_percent: int = 20
    is_volumes: bool = False


@struct
class Retention:
    """How long the store keeps what happened."""

    events: timedelta = timedelta(days=30)
    audit: timedelta = timedelta(days=365)
    intents: timedelta = timedelta(days=7)
    deliveries: timedelta = timedelta(days=30)
    health: timedelta = timedelta(days=30)


@struct
class CertificatePolicy:
    """How certificates that are not secrets come to be. ``authority`` is where the CA's
    certificate and key are, None: it is made on this machine."""

    issuer: str = "ca"
    authority: SecretRef | None = None
    duration: timedelta = timedelta(days=90)
    renew_before: timedelta = timedelta(days=30)


@struct
class ControlPlane:
    """``ctrlplane.yaml``: where things run. ``store`` is a path or URL, None for the default.
    ``ignore`` are globs of files that hold no specs. ``router`` None: routes are not served.
    ``tokens`` let people and programs in over HTTP."""

    name: str
    providers: Mapping[str, ProviderConfig]
    default_provider: str
    prune: PrunePolicy = PrunePolicy()
    store: str | None = None
    ignore: tuple[str, ...] = ()
    router: RouterConfig | None = None
    retention: Retention = Retention()
    certificates: CertificatePolicy = CertificatePolicy()
    is_drift_observed: bool = False
    tokens: tuple[AccessToken, ...] = ()
    notifications: tuple[Notification, ...] = ()


@struct
class IssuedCertificate:
    """What there is of a certificate that is issued for a route. ``digest`` changes with it; "":
    it has to be issued, and ``reason`` says why. ``not_after`` is the end of the one there is;
    ``is_new``: it was just issued."""

    key: ResourceKey
    hosts: tuple[str, ...]
    digest: str = ""
    not_after: datetime | None = None
    reason: str = ""
    is_new: bool = False


@struct
class DesiredState:
    """Everything Git says.

    ``resources`` holds every tenant, secret, instance, deployment and route by key (``instances``
    repeats the instances with their meaning). ``frozen`` maps a tenant to why its resources must
    stay as they are (an error in one of its documents); they are absent from ``resources``.
    ``is_complete`` is False when a file could not be read at all, so nothing may be pruned.
    ``secret_refs`` are the secrets' sources. ``blobs`` maps a FileMount digest to its inline
    content; a digest that is missing here is a blob of the snapshot. ``certificates`` are those
    that are issued for routes, by their keys; none where nobody looked.
    """

    plane: ControlPlane
    resources: Mapping[ResourceKey, DesiredResource]
    instances: Mapping[ResourceKey, DesiredInstance]
    secret_refs: Mapping[ResourceKey, SecretRef] = field(default_factory=dict)
    frozen: Mapping[str, str] = field(default_factory=dict)
    is_complete: bool = True
    blobs: Mapping[str, bytes] = field(default_factory=dict)
    certificates: Mapping[ResourceKey, IssuedCertificate] = field(default_factory=dict)
