"""What is there: replica directories joined with the processes that carry our tags."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from ctrlplane_gitops.process_id import (
    ProcessId,
    find_tagged,
    is_alive,
    leads_session,
    read_boot_id,
)
from ctrlplane_gitops.providers.base import (
    LABEL_INSTANCE,
    LABEL_PLANE,
    LABEL_RELEASE,
    LABEL_REPLICA,
    LABEL_REVISION,
    LABEL_TENANT,
)
from ctrlplane_gitops.providers.process.layout import Layout, Slug, read_json
from ctrlplane_gitops.providers.process.limit import read_in_force
from ctrlplane_gitops.providers.process.translate import (
    TAG_KEEPER,
    TAG_ROOT,
    ReplicaSpec,
    build_observed,
    decode_spec,
    parse_tags,
)
from ctrlplane_gitops.providers.scaling import Slot, replica_name
from ctrlplane_gitops.state.key import ResourceKey, instance_key
from ctrlplane_gitops.state.observed import ObservedReplica, ObservedReplicaSet, ReplicaPhase
from ctrlplane_gitops.value import field, replace, struct


@struct
class Replica:
    """One replica as found. ``spec`` is None when its directory is gone or unreadable; what still
    runs of it is then found by tags, and it counts as stopped so that it is replaced whole.
    ``groups`` are the control groups recorded for it, joined or not."""

    slug: Slug
    revision: str
    observed: ObservedReplica
    spec: ReplicaSpec | None = None
    keeper: ProcessId | None = None
    app: ProcessId | None = None
    is_foreign: bool = False
    groups: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.observed.name

    @property
    def is_live(self) -> bool:
        return self.observed.phase is not ReplicaPhase.STOPPED

    @property
    def slot(self) -> Slot:
        return Slot(self.slug.index, self.name, self.is_live)


@struct
class Tagged:
    """Live processes of one replica, whoever started them; ``keepers`` by the id of the start."""

    labels: Mapping[str, str]
    processes: tuple[ProcessId, ...] = ()
    keepers: Mapping[str, ProcessId] = field(default_factory=dict)

    def add(self, process: ProcessId, keeper_id: str | None) -> Tagged:
        keepers = dict(self.keepers) if keeper_id is None else {**self.keepers, keeper_id: process}
        return Tagged(self.labels, (*self.processes, process), keepers)


def find_processes(layout: Layout, plane: str) -> dict[str, Tagged]:
    """Live processes by replica name: keepers, applications and all they started."""
    found: dict[str, Tagged] = {}
    for process, environ in find_tagged(TAG_ROOT, str(layout.root)):
        labels = parse_tags(environ)
        if labels is not None and labels[LABEL_PLANE] == plane:
            name = labels[LABEL_REPLICA]
            before = found.get(name, Tagged(labels))
            # A keeper's child looks like a keeper until it has become the application, but only
            # the keeper leads its session.
            is_keeper = TAG_KEEPER in environ and leads_session(process)
            found[name] = before.add(process, environ[TAG_KEEPER] if is_keeper else None)
    return found


def read_fleet(
    layout: Layout, plane: str, keys: Collection[ResourceKey] | None = None
) -> list[Replica]:
    """Every replica of these instances, sorted by instance, release, index. OSError when the root
    directory or ``/proc`` cannot be read."""
    boot_id = read_boot_id()
    tagged = find_processes(layout, plane)
    scans = [layout.scan()] if keys is None else [layout.scan(key) for key in sorted(keys)]
    found = {
        slug: _read_replica(layout, plane, slug, tagged, boot_id) for scan in scans for slug in scan
    }
    for slug, orphan in _orphans(tagged):
        if slug not in found and (keys is None or slug.instance in keys):
            found[slug] = orphan
    order = sorted(found, key=lambda slug: (slug.instance, slug.release, slug.index))
    return [found[slug] for slug in order]


def _orphans(tagged: Mapping[str, Tagged]) -> Iterator[tuple[Slug, Replica]]:
    for name, item in tagged.items():
        labels = item.labels
        index = name.rpartition(".")[2]
        if labels[LABEL_RELEASE].isdigit() and index.isdigit():
            key = instance_key(labels[LABEL_TENANT], labels[LABEL_INSTANCE])
            slug = Slug(key, int(labels[LABEL_RELEASE]), int(index))
            pids = ", ".join(str(process.pid) for process in item.processes)
            yield slug, _lost(slug, name, labels[LABEL_REVISION], f"no directory; pids {pids} run")


def _lost(slug: Slug, name: str, revision: str, reason: str) -> Replica:
    stopped = ObservedReplica(name, "", slug.index, ReplicaPhase.STOPPED, reason=reason)
    return Replica(slug, revision, stopped)


def _read_replica(
    layout: Layout, plane: str, slug: Slug, tagged: Mapping[str, Tagged], boot_id: str
) -> Replica:
    directory = layout.replica_dir(slug)
    name = replica_name(plane, slug.instance, slug.release, slug.index)
    try:
        spec = decode_spec(read_json(directory / "replica.json"))
    except ValueError:
        known = tagged[name].labels[LABEL_REVISION] if name in tagged else ""
        return _lost(slug, name, known, "replica.json is missing or unreadable")
    state = _read_state(read_json(directory / "state.json"), spec)
    groups = tuple(spec.groups.values())
    if state.get("has_refused_groups"):
        spec = replace(spec, groups={})
    # Found by its environment, so a number that was given to somebody else is no keeper of ours.
    keeper = tagged[name].keepers.get(spec.id) if name in tagged else None
    is_here = state.get("boot_id") == boot_id
    app = _app(state) if is_here and keeper is not None else None
    phase, reason = _classify(state, keeper, app, is_here=is_here)
    is_live = phase is not ReplicaPhase.STOPPED
    in_force = read_in_force(spec) if is_live else spec.resources
    return Replica(
        slug,
        spec.labels[LABEL_REVISION],
        build_observed(spec, state, phase, reason, in_force),
        spec,
        keeper,
        app,
        is_foreign=spec.labels[LABEL_PLANE] != plane,
        groups=groups,
    )


def _read_state(raw: Any, spec: ReplicaSpec) -> Mapping[str, Any]:
    """``state.json`` when it speaks of this start of the replica, else empty."""
    return raw if isinstance(raw, dict) and raw.get("id") == spec.id else {}


def _app(state: Mapping[str, Any]) -> ProcessId | None:
    pid, ticks = state.get("app_pid"), state.get("app_ticks")
    if not isinstance(pid, int) or not isinstance(ticks, int):
        return None
    process = ProcessId(pid, ticks)
    return process if is_alive(process) else None


def _classify(
    state: Mapping[str, Any],
    keeper: ProcessId | None,
    app: ProcessId | None,
    *,
    is_here: bool,
) -> tuple[ReplicaPhase, str]:
    if not state:
        # The keeper writes its first state after the application was started.
        if keeper is not None:
            return ReplicaPhase.STARTING, ""
        return ReplicaPhase.STOPPED, "never started"
    if "exit_code" in state:
        reason = str(state.get("reason") or f"exited with {state['exit_code']}")
        return ReplicaPhase.STOPPED, reason
    if not is_here:
        return ReplicaPhase.STOPPED, "the machine was restarted"
    if keeper is None:
        return ReplicaPhase.STOPPED, "its keeper died"
    if app is None:
        return ReplicaPhase.STOPPED, "exited"
    return ReplicaPhase.RUNNING, ""


def group_sets(replicas: list[Replica], provider: str) -> tuple[ObservedReplicaSet, ...]:
    """Replica sets of what is ours. The revision is that of the newest readable replica."""
    groups: dict[tuple[ResourceKey, int], list[Replica]] = {}
    for replica in replicas:
        if not replica.is_foreign:
            groups.setdefault((replica.slug.instance, replica.slug.release), []).append(replica)
    return tuple(
        ObservedReplicaSet(
            key,
            provider,
            release,
            next((item.revision for item in reversed(group) if item.revision), ""),
            tuple(item.observed for item in group),
        )
        for (key, release), group in groups.items()
    )
