"""What an object of a list comes to: the few values of it that we look at. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, TypeAlias

from ctrlplane_gitops.cluster.api import FIELD_MANAGER
from ctrlplane_gitops.cluster.owner import is_of_person as is_of_person
from ctrlplane_gitops.cluster.resource import CONFIG_MAP, SECRET
from ctrlplane_gitops.providers.base import LABEL_REPLICA
from ctrlplane_gitops.providers.kubernetes.foreign import print_of
from ctrlplane_gitops.providers.kubernetes.labelled import find_owner, find_relabelled, own_labels
from ctrlplane_gitops.providers.kubernetes.name import (
    APPLIED,
    AUTOSCALED,
    CONTAINER,
    LABEL_ADOPTED,
    PORTS,
    SHAPE,
    Owner,
    pull_name,
    read_owner,
    set_name,
)
from ctrlplane_gitops.providers.kubernetes.quantity import read_limits
from ctrlplane_gitops.providers.kubernetes.shape import find_taken
from ctrlplane_gitops.redact import one_line
from ctrlplane_gitops.state.desired import Resources
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.observed import ReplicaPhase, Verdict
from ctrlplane_gitops.value import struct

Object = Mapping[str, Any]
_FAR_PAST = datetime(1970, 1, 1, tzinfo=UTC)
_LIMIT_RANGER = "kubernetes.io/limit-ranger"
_MOST_TEXT = 300
REPLICAS = "spec.replicas"
CONTENTS = ("data", "binaryData")
PARTS = ("spec", *CONTENTS)
# Namespace and name, and what somebody else has set of it.
ServiceRow: TypeAlias = tuple[tuple[str, str], tuple[tuple[str, str], ...]]
# Kubernetes' own, which go by themselves, as those of its own domain do.
OWN_FINALIZERS = ("foregroundDeletion", "orphan")
_OWN_DOMAIN = "kubernetes.io/"
PULL_KEY = ".dockerconfigjson"
# Back-off after a crash; every other reason to wait is one to be started.
_CRASHING = ("CrashLoopBackOff",)


@struct
class Needed:
    """What pods need to start: a Secret or a ConfigMap with those keys."""

    kind: str
    name: str
    keys: tuple[str, ...]


@struct
class AdoptedAs:
    """What is known of a Deployment that was adopted: its pods' labels, the name of its container,
    and whether somebody has changed what it runs since; ``changed`` are the fields, where the
    cluster remembers what they were, with who has changed them."""

    selector: tuple[tuple[str, str], ...]
    container: str
    is_changed: bool
    changed: tuple[tuple[str, str], ...] = ()


@struct
class DeploymentRow:
    """``failure`` is why pods are not made; ``is_seen`` whether the controller knows of the last
    change. ``foreign`` are fields of ours that somebody else has set, with who that was;
    ``finalizers`` keep it when it is to go; ``needed`` is what its pods take from other objects;
    ``taken`` what somebody has taken out of its template. ``adopted`` None: we have made it.
    ``is_autoscaled``: it is written down there that how many pods it has is left to others."""

    namespace: str
    name: str
    uid: str
    instance: ResourceKey
    release: int
    revision: str
    replicas: int
    ports: tuple[tuple[str, int], ...]
    limits: Resources
    is_going: bool
    is_seen: bool
    failure: str
    foreign: tuple[tuple[str, str], ...]
    finalizers: tuple[str, ...] = ()
    needed: tuple[Needed, ...] = ()
    taken: tuple[str, ...] = ()
    adopted: AdoptedAs | None = None
    is_autoscaled: bool = False

    @property
    def service(self) -> str:
        """The name of the Service that leads to its pods."""
        return self.name if self.adopted is None else set_name(self.instance, self.release)


@struct
class PodRow:
    """``index`` is what we have pinned it to, None: by its age. ``grace_s`` is how long it may
    take to stop. ``is_marked``: we have chosen it to go. ``container`` is the one we speak of."""

    namespace: str
    name: str
    uid: str
    instance: ResourceKey
    release: int
    index: int | None
    created_at: datetime
    is_going: bool
    phase: ReplicaPhase
    started_at: datetime
    exit_code: int | None
    reason: str
    verdict: Verdict
    limits: Resources
    is_limited_by_others: bool
    is_final: bool
    grace_s: int
    is_marked: bool = False
    finalizers: tuple[str, ...] = ()
    container: str = CONTAINER

    @property
    def is_live(self) -> bool:
        return self.phase is not ReplicaPhase.STOPPED


def read_time(text: Any) -> datetime | None:
    """
    >>> read_time("2026-03-01T12:00:00Z")
    datetime.datetime(2026, 3, 1, 12, 0, tzinfo=datetime.timezone.utc)
    """
    try:
        return datetime.fromisoformat(str(text)).astimezone(UTC) if text else None
    except ValueError:
        return None


def read_service(item: Object) -> ServiceRow:
    """Its metadata tell all that."""
    metadata = item["metadata"]
    foreign = {*find_foreign(metadata.get("managedFields") or ()), *find_relabelled(metadata)}
    return (metadata["namespace"], metadata["name"]), tuple(sorted(foreign))


def read_reached(item: Object) -> tuple[str, ...]:
    """The pods, by identity, that an EndpointSlice leads to. Nothing said of one is yes, as the API
    has it."""
    return tuple(
        str(endpoint["targetRef"]["uid"])
        for endpoint in item.get("endpoints") or ()
        if (endpoint.get("conditions") or {}).get("ready") is not False
        and (endpoint.get("targetRef") or {}).get("uid")
    )


def read_deployment(item: Object) -> DeploymentRow | None:
    """None when it does not carry our labels as we write them."""
    metadata, spec, status = item["metadata"], item["spec"], item.get("status") or {}
    owner = find_owner(item)
    if owner is None:
        return None
    labels = metadata.get("labels") or {}
    annotations = metadata.get("annotations") or {}
    adopted = _read_adopted(item) if LABEL_ADOPTED in labels else None
    pod = spec["template"]["spec"]
    container = find_container(pod, adopted.container if adopted else CONTAINER)
    managed = metadata.get("managedFields") or ()
    if adopted is not None:
        # All of it is somebody else's; only who scales it matters.
        managed = [it for it in managed if it.get("subresource") == "scale"]
    wanted = own_labels(item)
    relabelled = find_relabelled(metadata, wanted) if wanted and adopted is None else ()
    generation = metadata.get("generation", 0)
    return DeploymentRow(
        metadata["namespace"],
        metadata["name"],
        metadata["uid"],
        owner.instance,
        owner.release,
        owner.revision,
        int(spec.get("replicas", 1)),
        tuple(_read_ports(annotations.get(PORTS, ""))),
        read_limits((container.get("resources") or {}).get("limits") or {}),
        "deletionTimestamp" in metadata,
        status.get("observedGeneration", 0) >= generation,
        _failure(status),
        tuple(sorted({*find_foreign(managed), *relabelled})),
        find_finalizers(metadata),
        () if adopted else tuple(_read_needed(metadata["name"], pod, container)),
        () if adopted else tuple(find_taken(pod, annotations.get(SHAPE, ""))),
        adopted,
        AUTOSCALED in annotations,
    )


def _read_adopted(item: Object) -> AdoptedAs:
    selector = item["spec"]["selector"].get("matchLabels") or {}
    held = (item["metadata"].get("annotations") or {}).get(APPLIED)
    return AdoptedAs(
        tuple(sorted(selector.items())),
        str(item["spec"]["template"]["spec"]["containers"][0]["name"]),
        held != print_of(item),
    )


def _read_needed(deployment: str, pod: Object, container: Object) -> Iterator[Needed]:
    """What we had it refer to. What somebody else has it refer to is called otherwise."""
    keys: dict[tuple[str, str], set[str]] = {}
    for item in container.get("env") or ():
        refers = (item.get("valueFrom") or {}).get("secretKeyRef")
        if refers:
            keys.setdefault((SECRET.kind, str(refers["name"])), set()).add(str(refers["key"]))
    for volume in pod.get("volumes") or ():
        if files := volume.get("configMap"):
            keys[CONFIG_MAP.kind, str(files.get("name"))] = {
                str(it["key"]) for it in files.get("items") or ()
            }
        elif held := volume.get("secret"):
            names = keys.setdefault((SECRET.kind, str(held.get("secretName"))), set())
            mounts = container.get("volumeMounts") or ()
            names |= {
                str(it["subPath"])
                for it in mounts
                if it.get("name") == volume["name"] and "subPath" in it
            }
    for pull in pod.get("imagePullSecrets") or ():
        keys[SECRET.kind, str(pull.get("name"))] = {PULL_KEY}
    for (kind, name), found in sorted(keys.items()):
        if name in (deployment, pull_name(deployment)):
            yield Needed(kind, name, tuple(sorted(found)))


def _read_ports(text: str) -> Iterator[tuple[str, int]]:
    for part in filter(None, text.split(",")):
        name, _, number = part.partition("=")
        if number.isdigit():
            yield name, int(number)


def _failure(status: Object) -> str:
    """Why pods are refused: a quota, a policy, a webhook."""
    for condition in status.get("conditions") or ():
        if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
            return _short(f"{condition.get('reason')}: {condition.get('message')}")
    return ""


def find_finalizers(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """Those that somebody has put there who is not Kubernetes itself.

    >>> find_finalizers({"finalizers": ["foregroundDeletion", "example.com/audit"]})
    ('example.com/audit',)
    """
    names = metadata.get("finalizers") or ()
    return tuple(it for it in names if it not in OWN_FINALIZERS and not it.startswith(_OWN_DOMAIN))


def find_foreign(fields: Iterable[Object]) -> Iterator[tuple[str, str]]:
    """Fields of the specification, or of the content, that somebody else has written, with who that
    was. Controllers write a status and annotations, which are theirs.

    >>> list(find_foreign([{"manager": "kubectl", "fieldsV1": {"f:spec": {"f:replicas": {}}}}]))
    [('spec.replicas', 'kubectl')]
    """
    for entry in fields:
        if entry.get("manager") != FIELD_MANAGER and entry.get("subresource") != "status":
            fields_of = entry.get("fieldsV1") or {}
            for part in PARTS:
                for path in (
                    _leaves(part, fields_of[f"f:{part}"]) if f"f:{part}" in fields_of else ()
                ):
                    yield path, str(entry.get("manager"))


def _leaves(path: str, below: Object) -> Iterator[str]:
    inside = {name: value for name, value in below.items() if name != "."}
    if not inside:
        yield path
    for name, value in inside.items():
        kind, _, rest = name.partition(":")
        yield from _leaves(f"{path}.{rest}" if kind == "f" else f"{path}[{rest}]", value)


def read_pod(item: Object) -> PodRow | None:
    """None when it does not carry our labels as we write them."""
    owner = read_owner(item["metadata"].get("labels") or {})
    return None if owner is None else read_pod_of(item, owner, CONTAINER)


def read_pod_of(item: Object, owner: Owner, named: str) -> PodRow:
    """``named`` is the container that is the replica."""
    metadata, spec, status = item["metadata"], item["spec"], item.get("status") or {}
    labels = metadata.get("labels") or {}
    container = find_container(spec, named)
    seen = _find_container(status.get("containerStatuses") or (), named)
    phase, exit_code, reason = _judge(metadata["name"], status, seen)
    created = read_time(metadata.get("creationTimestamp")) or _FAR_PAST
    running = (seen.get("state") or {}).get("running") or {}
    started = read_time(running.get("startedAt")) or read_time(status.get("startTime")) or created
    pinned = str(labels.get(LABEL_REPLICA, ""))
    limits = read_limits((container.get("resources") or {}).get("limits") or {})
    return PodRow(
        metadata["namespace"],
        metadata["name"],
        metadata["uid"],
        owner.instance,
        owner.release,
        int(pinned) if pinned.isdigit() else None,
        created,
        "deletionTimestamp" in metadata,
        phase,
        started,
        exit_code,
        reason,
        _verdict(metadata["name"], status, seen, reason, created),
        limits,
        _LIMIT_RANGER in (metadata.get("annotations") or {}),
        status.get("phase") in ("Failed", "Succeeded"),
        int(spec.get("terminationGracePeriodSeconds", 30)),
        not owner.revision,
        find_finalizers(metadata),
        named,
    )


def find_container(pod: Object, named: str = CONTAINER) -> Object:
    """Ours, of a pod's specification."""
    return _find_container(pod.get("containers") or (), named)


def _find_container(items: Iterable[Object], named: str) -> Object:
    """Ours; a pod may have others that admission has put into it."""
    return next((item for item in items if item.get("name") == named), {})


def _judge(pod: str, status: Object, seen: Object) -> tuple[ReplicaPhase, int | None, str]:
    """Phase, exit code and why it is not running."""
    state, last = seen.get("state") or {}, seen.get("lastState") or {}
    ended = state.get("terminated") or {}
    before = last.get("terminated") or {}
    if status.get("phase") in ("Failed", "Succeeded"):
        code = ended.get("exitCode")
        why = status.get("reason") or ended.get("reason") or status.get("phase")
        return ReplicaPhase.STOPPED, code, _say(pod, why, status.get("message"))
    if ended:
        why = ended.get("reason") or "terminated"
        return ReplicaPhase.STOPPED, ended.get("exitCode"), _say(pod, why, ended.get("message"))
    if "running" in state:
        return ReplicaPhase.RUNNING, None, ""
    waiting = state.get("waiting") or {}
    reason = waiting.get("reason")
    if reason in _CRASHING or (before and reason):
        text = _say(pod, reason, waiting.get("message"))
        return ReplicaPhase.CRASHING, before.get("exitCode"), text
    if reason and reason not in ("ContainerCreating", "PodInitializing"):
        return ReplicaPhase.STARTING, None, _say(pod, reason, waiting.get("message"))
    return ReplicaPhase.STARTING, None, _unscheduled(pod, status)


def _unscheduled(pod: str, status: Object) -> str:
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return _say(pod, condition.get("reason"), condition.get("message"))
    return ""


def _verdict(pod: str, status: Object, seen: Object, reason: str, created: datetime) -> Verdict:
    """What the kubelet says of it: its probes, and whether it runs at all. Before its startup probe
    has passed it has not failed."""
    for condition in status.get("conditions") or ():
        if condition.get("type") == "Ready":
            is_ready = condition.get("status") == "True"
            since = read_time(condition.get("lastTransitionTime")) or created
            text = reason or _say(pod, condition.get("reason"), condition.get("message"))
            failures = 1 if seen.get("started") and not is_ready else 0
            return Verdict(is_ready, since, failures, "" if is_ready else text)
    return Verdict(False, created, 0, reason)


def _say(pod: str, reason: Any, message: Any) -> str:
    return _short(f"pod {pod}: {reason}: {message}" if message else f"pod {pod}: {reason}")


def _short(text: str) -> str:
    line = one_line(text)
    return line if len(line) <= _MOST_TEXT else f"{line[: _MOST_TEXT - 3]}..."
