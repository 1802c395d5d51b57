"""The replicas of one instance, for whoever looks into them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ctrlplane_gitops.errors import CtrlplaneError, ReplicaError, UnreachableError
from ctrlplane_gitops.execute.pool import Pool
from ctrlplane_gitops.providers.base import LogLine, Provider
from ctrlplane_gitops.providers.halt import Halt
from ctrlplane_gitops.reconcile.observe import observe_all
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.observed import ObservedReplica, ReplicaPhase
from ctrlplane_gitops.value import struct


@struct
class Found:
    """A replica, and who runs it."""

    provider: Provider
    replica: ObservedReplica


def find_replicas(
    providers: Mapping[str, Provider], pool: Pool, key: ResourceKey, index: int | None = None
) -> list[Found]:
    """Those that are there now (of this index), newest release first; ReplicaError where there
    are none."""
    observed = observe_all(providers, pool, [key])
    found = [
        Found(providers[item.provider], replica)
        for item in reversed(observed.by_instance().get(key, ()))
        for replica in item.replicas
        if index is None or replica.index == index
    ]
    if not found and observed.gaps:
        gap = observed.gaps[0]
        raise UnreachableError(f"provider {gap.provider} did not answer: {gap.reason}")
    if not found:
        which = "no replica" if index is None else f"no replica {index}"
        raise ReplicaError(f"there is {which} of {key}", hint="status lists what runs")
    return found


def choose_running(found: Sequence[Found], key: ResourceKey) -> Found:
    """The one a command is run in."""
    running = [item for item in found if item.replica.phase is ReplicaPhase.RUNNING]
    if not running:
        raise ReplicaError(f"no replica of {key} is running")
    return running[0]


def open_logs(
    found: Sequence[Found],
    *,
    tail: int | None,
    is_follow: bool,
    is_merged: bool,
    halt: Halt | None = None,
) -> list[Iterator[LogLine | CtrlplaneError]]:
    """A stream of lines per replica. ``is_merged``: an error is an item of its stream instead of
    being raised, since the others go on. ``halt`` ends those that are followed."""

    def read(item: Found) -> Iterator[LogLine | CtrlplaneError]:
        try:
            yield from item.provider.read_logs(
                item.replica.name, tail=tail, is_follow=is_follow, halt=halt
            )
        except CtrlplaneError as error:
            if not is_merged:
                raise
            yield error

    return [read(item) for item in found]
