"""From a release to what a container needs, and from a row of the list back. Pure."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from sys import intern
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ctrlplane_gitops.errors import CapabilityError, ProviderError
from ctrlplane_gitops.providers.base import (
    LABEL_INSTANCE,
    LABEL_PLANE,
    LABEL_RELEASE,
    LABEL_REPLICA,
    LABEL_REVISION,
    LABEL_TENANT,
)
from ctrlplane_gitops.providers.container import (
    check_arguments,
    check_paths,
    owner_labels,
    place_paths,
)
from ctrlplane_gitops.providers.scaling import Slot, replica_name
from ctrlplane_gitops.room import Room
from ctrlplane_gitops.state.desired import Resources
from ctrlplane_gitops.state.key import ResourceKey, instance_key
from ctrlplane_gitops.state.observed import (
    Endpoint,
    ObservedReplica,
    ObservedReplicaSet,
    ReplicaPhase,
)
from ctrlplane_gitops.state.template import ReleaseTemplate, SecretType
from ctrlplane_gitops.value import struct

if TYPE_CHECKING:
    from ctrlplane_gitops.state.action import ScaleReplicaSet

# The list shows port numbers only; this label keeps their names: "http=8080,admin=9000".
LABEL_PORTS = "ctrlplane.dev/ports"
# On a container that only stands for another one, which we did not make: that one's id.
LABEL_ADOPTS = "ctrlplane.dev/adopts"
# Anything else is stopped. A paused container serves nobody, so it is replaced like a dead one.
_PHASES = {"running": ReplicaPhase.RUNNING, "restarting": ReplicaPhase.CRASHING}
_EXIT_CODE = re.compile(r"^(?:Exited|Restarting|Dead) \((\d+)\)")


@struct
class Container:
    """A row of the list that carries all of our labels. ``index`` and ``name`` come from the label:
    a user may rename a container, and it stays the replica it is. ``adopts`` is the id of the
    container it stands for; once that was followed, ``marker`` is its own."""

    id: str
    name: str
    instance: ResourceKey
    release: int
    revision: str
    index: int
    phase: ReplicaPhase
    created_at: datetime
    endpoints: tuple[Endpoint, ...] = ()
    exit_code: int | None = None
    reason: str = ""
    adopts: str = ""
    marker: str = ""
    ports_label: str = ""

    @property
    def is_live(self) -> bool:
        return self.phase is not ReplicaPhase.STOPPED

    @property
    def slot(self) -> Slot:
        return Slot(self.index, self.name, self.is_live)


_NONE: Mapping[str, Container] = MappingProxyType({})


def label_filter(labels: Mapping[str, str]) -> dict[str, Any]:
    """The engine's filter for objects that carry all of these labels."""
    return {"label": [f"{name}={value}" for name, value in labels.items()]}


def replica_labels(plane: str, action: ScaleReplicaSet, index: int) -> dict[str, str]:
    release, instance = action.release, action.instance
    ports = ",".join(f"{port.name}={port.port}" for port in release.template.ports)
    return owner_labels(plane, instance.tenant, instance.name) | {
        LABEL_RELEASE: str(release.number),
        LABEL_REVISION: release.revision,
        LABEL_REPLICA: replica_name(plane, instance, release.number, index),
        LABEL_PORTS: ports,
    }


def network_name(plane: str, tenant: str) -> str:
    return f"{plane}.{tenant}"


def volume_name(plane: str, instance: ResourceKey, volume: str) -> str:
    return f"{plane}.{instance.tenant}.{instance.name}.{volume}"


def parse_container(row: Mapping[str, Any]) -> Container | None:
    """The container of a list row; None when its labels are not the ones we write."""
    labels = row.get("Labels") or {}
    try:
        name, release = labels[LABEL_REPLICA], int(labels[LABEL_RELEASE])
        # Each row has texts of its own, which are the same in many.
        tenant, own = map(intern, (labels[LABEL_TENANT], labels[LABEL_INSTANCE]))
        instance = instance_key(tenant, own)
        index = int(name.rpartition(".")[2])
    except (KeyError, ValueError):
        return None
    if index < 0 or name != replica_name(labels[LABEL_PLANE], instance, release, index):
        return None
    phase, exit_code = phase_of(row)
    ports = intern(labels.get(LABEL_PORTS, ""))
    return Container(
        str(row["Id"]),
        name,
        instance,
        release,
        intern(labels.get(LABEL_REVISION, "")),
        index,
        phase,
        datetime.fromtimestamp(int(row["Created"]), UTC),
        published_endpoints(ports, row.get("Ports") or ()),
        exit_code,
        reason_of(str(row.get("State", "")), exit_code),
        labels.get(LABEL_ADOPTS, ""),
        ports_label=ports,
    )


def phase_of(row: Mapping[str, Any]) -> tuple[ReplicaPhase, int | None]:
    """The phase of a row of the list, and the exit code where it has ended."""
    found = _EXIT_CODE.match(str(row.get("Status", "")))
    phase = _PHASES.get(str(row.get("State", "")), ReplicaPhase.STOPPED)
    return phase, int(found[1]) if found else None


def read_rows(
    rows: Iterable[Mapping[str, Any]], known: Mapping[str, Container] = _NONE
) -> tuple[list[Container], int]:
    """The containers of a list, sorted; and how many of its rows are not of our making. Of each row
    no more is kept than that, and nothing of one that says the same as what is ``known`` by its
    id: whoever keeps one look while the next is made does not keep it twice."""
    found, strangers = [], 0
    for row in rows:
        container = parse_container(row)
        if container is None:
            strangers += 1
            continue
        before = known.get(container.id)
        found.append(before if before is not None and before == container else container)
    found.sort(key=_place_of)
    return found, strangers


class Listing:
    """All of a control plane's containers as they were listed last. Who wants them listed waits for
    who is listing them, but not where the engine hangs, so that what says the same is there once,
    however many look."""

    def __init__(self) -> None:
        self._room = Room()
        self._known: Mapping[str, Container] = _NONE
        self._sets: tuple[ObservedReplicaSet, ...] = ()

    def renew(self, ask: Callable[[], Iterable[Mapping[str, Any]]]) -> tuple[list[Container], int]:
        """As ``read_rows``."""
        with self._room.entered():
            found, strangers = read_rows(ask(), self._known)
            self._known = {item.id: item for item in found}
            return found, strangers

    def keep(self, sets: Iterable[ObservedReplicaSet]) -> tuple[ObservedReplicaSet, ...]:
        """The same ones, each as it was seen before where it is equal. They come in order."""
        before, at = self._sets, 0
        kept = []
        for item in sets:
            place = _place_of_set(item)
            while at < len(before) and _place_of_set(before[at]) < place:
                at += 1
            kept.append(before[at] if at < len(before) and before[at] == item else item)
        self._sets = tuple(kept)
        return self._sets


def _place_of_set(item: ObservedReplicaSet) -> tuple[str, str, int]:
    return item.instance.tenant, item.instance.name, item.release


def _place_of(item: Container) -> tuple[str, str, int, int, datetime]:
    """Of texts and numbers alone: comparing keys of ours ten thousand times takes long."""
    key = item.instance
    return (key.tenant, key.name, item.release, item.index, item.created_at)


def reason_of(state: str, exit_code: int | None) -> str:
    if state == "running":
        return ""
    if state == "created":
        return "created but never started"
    return state if exit_code is None else f"{state} with {exit_code}"


def published_endpoints(label: str, rows: Sequence[Mapping[str, Any]]) -> tuple[Endpoint, ...]:
    """The named ports of a row of the list that are published."""
    published = {
        row["PrivatePort"]: (intern(str(row.get("IP", ""))), int(row["PublicPort"]))
        for row in rows
        if "PublicPort" in row and row.get("Type") == "tcp"
    }
    found = []
    for item in filter(None, label.split(",")):
        name, _, number = item.partition("=")
        if number.isdigit() and int(number) in published:
            found.append(Endpoint(intern(name), *published[int(number)]))
    return tuple(found)


def build_observed(container: Container, limits: Resources | None) -> ObservedReplica:
    """The start time is that of creation: the list has no other, and we start at once."""
    return ObservedReplica(
        container.name,
        container.id,
        container.index,
        container.phase,
        container.endpoints,
        container.created_at,
        limits,
        container.exit_code,
        container.reason,
    )


def pack_files(template: ReleaseTemplate, files: Mapping[str, bytes], at: datetime) -> bytes:
    """A tar of the template's files, to be unpacked at ``/``. Owner is root, as in an image."""
    import tarfile

    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w") as archive:
        for file in template.files:
            entry = tarfile.TarInfo(file.path.lstrip("/"))
            content = files[file.digest]
            entry.size, entry.mode, entry.mtime = len(content), file.mode, int(at.timestamp())
            archive.addfile(entry, io.BytesIO(content))
    return output.getvalue()


def check_template(template: ReleaseTemplate, instance: ResourceKey, *, is_local: bool) -> None:
    """ProviderError for what can never run here."""
    if not template.image:
        raise ProviderError(
            f"{instance}: a Docker provider needs an image", hint="give the deployment an `image`"
        )
    if not is_local and any(mount.type is SecretType.FILE for mount in template.secrets):
        raise CapabilityError(
            f"{instance}: an engine on another machine has no capability 'secret files'",
            hint="use secrets of type env, or a provider on the engine's machine (unix://)",
        )
    check_paths(place_paths(template), instance)
    check_arguments(template, instance)
