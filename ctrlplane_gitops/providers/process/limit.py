"""Limits of a replica: by control groups where there can be some, else by its keeper's watch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ctrlplane_gitops.process_id import ProcessId
from ctrlplane_gitops.providers.process import cgroup
from ctrlplane_gitops.providers.process.translate import ReplicaSpec
from ctrlplane_gitops.state.desired import Resources
from ctrlplane_gitops.value import replace


def choose_groups(bases: Mapping[str, Path], token: str, limits: Resources) -> dict[str, str]:
    """The groups a new replica needs, by controller: none for what is not limited.

    >>> choose_groups({"cpu": Path("/g")}, "x", Resources(500, 7))
    {'cpu': '/g/ctrlplane-x-cpu'}
    """
    asked = {"memory": limits.memory_bytes, "cpu": limits.cpu_millicores}
    return {
        name: _group(base, token, name) for name, base in bases.items() if asked[name] is not None
    }


def list_groups(bases: Mapping[str, Path], token: str) -> list[str]:
    """Every group a replica can have here."""
    return [_group(base, token, name) for name, base in bases.items()]


def _group(base: Path, token: str, controller: str) -> str:
    return str(base / f"ctrlplane-{token}-{controller}")


def make_groups(spec: ReplicaSpec) -> ReplicaSpec:
    """Make the groups of a replica about to start; those that cannot be made are struck out."""
    made = dict(spec.groups)
    for controller, group in spec.groups.items():
        if not cgroup.make_group(Path(group)) or not _set(group, controller, spec.resources):
            cgroup.remove_groups([group])
            del made[controller]
    return replace(spec, groups=made)


def _set(group: str, controller: str, limits: Resources) -> bool:
    if controller == "memory":
        return cgroup.set_memory(Path(group), limits.memory_bytes)
    return cgroup.set_cpu(Path(group), limits.cpu_millicores)


def change_limits(
    spec: ReplicaSpec,
    limits: Resources,
    bases: Mapping[str, Path],
    token: str,
    app: ProcessId | None,
) -> ReplicaSpec:
    """Put other limits in force while it runs (or is about to: ``app`` None). A memory limit the
    kernel refuses, or for which there is no group, is left to the keeper: memory in use does not
    move into a new group."""
    groups = dict(spec.groups)
    is_cpu_asked = limits.cpu_millicores is not None
    if "cpu" not in groups and is_cpu_asked and "cpu" in bases and app is not None:
        groups["cpu"] = _group(bases["cpu"], token, "cpu")
        if not cgroup.make_group(Path(groups["cpu"])):
            del groups["cpu"]
    if "cpu" in groups:
        is_set = _set(groups["cpu"], "cpu", limits)
        is_moved = app is None or cgroup.move_tree(Path(groups["cpu"]), app.pid)
        if not (is_set and is_moved):
            del groups["cpu"]
    is_watched = "memory" in groups and not _set(groups["memory"], "memory", limits)
    return replace(spec, resources=limits, groups=groups, is_watched=is_watched)


def read_in_force(spec: ReplicaSpec) -> Resources:
    """The limits that hold: as the groups say, else those asked for. Memory is then watched by the
    keeper, while cpu is not enforced, which ``is_cpu_free`` tells."""
    memory, cpu = spec.resources.memory_bytes, spec.resources.cpu_millicores
    if "memory" in spec.groups and not spec.is_watched:
        memory = cgroup.read_memory(Path(spec.groups["memory"]), memory)
    if "cpu" in spec.groups:
        cpu = cgroup.read_cpu(Path(spec.groups["cpu"]), cpu)
    return Resources(cpu, memory)


def is_cpu_free(spec: ReplicaSpec) -> bool:
    """Whether a cpu limit was asked for that nothing enforces."""
    return spec.resources.cpu_millicores is not None and "cpu" not in spec.groups
