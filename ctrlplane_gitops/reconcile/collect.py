"""Clearing away what is nobody's: seen without the lease, removed under it and after a second
look."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from itertools import islice
from typing import TypeVar

from ctrlplane_gitops.clock import Clock
from ctrlplane_gitops.errors import CtrlplaneError
from ctrlplane_gitops.execute.effect import Effects
from ctrlplane_gitops.execute.journal import Journal
from ctrlplane_gitops.execute.lease import HeldLease, hold_lease
from ctrlplane_gitops.execute.material import Materials
from ctrlplane_gitops.execute.pool import Pool
from ctrlplane_gitops.plan.change import Policy
from ctrlplane_gitops.plan.orphan import Orphans, Seen, find_doubt, find_orphans, find_surplus
from ctrlplane_gitops.providers.base import Keeping, Provider
from ctrlplane_gitops.reconcile.look import look
from ctrlplane_gitops.reconcile.run import PassParts, Specs
from ctrlplane_gitops.redact import Redactor
from ctrlplane_gitops.state.action import (
    Action,
    RemoveInstance,
    RemoveTenant,
    ScaleReplicaSet,
)
from ctrlplane_gitops.state.desired import DesiredInstance
from ctrlplane_gitops.state.key import Kind, ResourceKey
from ctrlplane_gitops.state.observed import Leftover
from ctrlplane_gitops.state.recorded import RecordBatch
from ctrlplane_gitops.state.template import Release, ReleaseTemplate
from ctrlplane_gitops.store.base import Store
from ctrlplane_gitops.value import struct

_T = TypeVar("_T")
_POLICY = Policy(is_keep_going=True)
_NO_WAIT = timedelta()
# Rows with whole templates in them: so many are gone within a few milliseconds.
_RELEASES = 50
_TENANTS = 20


@struct
class Collected:
    """``leftovers`` and ``forgotten`` count what is gone; ``errors`` say what could not be."""

    leftovers: int = 0
    forgotten: int = 0
    errors: tuple[CtrlplaneError, ...] = ()


def list_leftovers(
    providers: Mapping[str, Provider], pool: Pool
) -> tuple[tuple[Leftover, ...], frozenset[str]]:
    """What all providers keep apart from replicas, and the names of those that did not say."""
    asked = {
        name: pool.submit(item.find_leftovers)
        for name, item in sorted(providers.items())
        if isinstance(item, Keeping)
    }
    found: list[Leftover] = []
    silent = set()
    for name, future in asked.items():
        try:
            found += future.result()
        except CtrlplaneError:
            silent.add(name)
    return tuple(found), frozenset(silent)


def see(specs: Specs, parts: PassParts) -> Seen:
    """Look at everything, leftovers first: what a replica has since been started for is seen with
    it."""
    leftovers, silent = list_leftovers(parts.providers, parts.looks)
    wanted, desired = specs
    seen = look(
        wanted, desired, parts.providers, parts.store, parts.looks, _POLICY, parts.clock.now(),
        router=parts.router,
    )  # fmt: skip
    return Seen(desired, seen.observed, seen.recorded, seen.plan, leftovers, silent)


def collect_orphans(
    read: Callable[[], Specs],
    parts: PassParts,
    leftovers: Collection[Leftover],
    forgotten: Collection[ResourceKey],
) -> Collected:
    """Remove those of them that are still nobody's. LockError while somebody else is at work;
    nothing is waited for."""
    with _lease(parts) as held:
        specs = read()
        seen = see(specs, parts)
        if find_doubt(seen):
            return Collected()
        found = find_orphans(seen)
        due = Orphans(
            tuple(item for item in found.leftovers if item in leftovers),
            tuple(key for key in found.forgotten if key in forgotten),
        )
        return _collect(due, seen, specs, parts, held)


def _collect(
    due: Orphans, seen: Seen, specs: Specs, parts: PassParts, held: HeldLease
) -> Collected:
    wanted, _ = specs
    redactor = Redactor((wanted.secrets or {}).values())
    journal = Journal(parts.store, held.fence, parts.clock, parts.actor, redactor, parts.on_event)
    commit = wanted.snapshot.commit
    materials = Materials({}, (), lambda digests: {}, lambda digest: None, {})
    effects = Effects(
        parts.providers, journal, materials, parts.actions,
        lambda: held.lost.is_set() or parts.cancel.is_set(),
    )  # fmt: skip
    errors: list[CtrlplaneError] = []
    # A tenant's own goes last, as in an apply.
    for kind in (Kind.INSTANCE, Kind.TENANT):
        some = [item for item in due.leftovers if item.owner.kind is kind]
        errors += _remove(some, effects, commit, parts.clock)
    for key in due.forgotten:
        numbers = [(key, item.number) for item in seen.recorded.releases.get(key, ())]
        journal.remove(instances=(key,), releases=numbers, orders=(key,))
        journal.audit("forget", key.address, "done: nothing of it is left", commit)
    journal.flush()
    return Collected(len(due.leftovers) - len(errors), len(due.forgotten), tuple(errors))


def _remove(
    leftovers: Sequence[Leftover], effects: Effects, commit: str, clock: Clock
) -> list[CtrlplaneError]:
    begun = [(_action_of(item, clock), item) for item in leftovers]
    for action, _ in begun:
        effects.intend(action)
    effects.flush()
    effects.submit()
    effects.wait()
    errors = []
    for outcome in effects.collect():
        item = next(item for action, item in begun if action == outcome.action)
        error = outcome.error
        text = "done" if error is None else f"failed: {error.message}"
        text += f": {item.what} on {item.provider}"
        effects.journal.audit("delete", item.owner.address, text, commit)
        errors += [] if error is None else [error]
    effects.flush()
    return errors


def _action_of(item: Leftover, clock: Clock) -> Action:
    """Volumes stay, whatever else goes."""
    owner, provider = item.owner, item.provider
    if owner.kind is Kind.TENANT:
        return RemoveTenant(owner, provider)
    if item.release is None:
        return RemoveInstance(owner, provider)
    template = ReleaseTemplate(provider)
    release = Release(owner, item.release, "", template, "", clock.now())
    return ScaleReplicaSet(owner, provider, release, 0)


def drop_surplus(
    instances: Mapping[ResourceKey, DesiredInstance],
    parts: PassParts,
    rest: Callable[[], bool] = lambda: False,
) -> tuple[int, int]:
    """Forget releases beyond their limit, and contents that no release uses; how many of each. The
    lease is held for a few tenants at a time. ``rest`` is called between two transactions and says
    whether to stop. LockError while somebody else is at work."""
    store, dropped, contents = parts.store, 0, 0
    for tenants in _batches(_suspect(instances, store), _TENANTS):
        if find_surplus(instances, store.load_state(tenants)) == RecordBatch():
            continue
        with _lease(parts) as held:
            surplus = find_surplus(instances, store.load_state(tenants))
            for some in _batches(surplus.removed_releases, _RELEASES):
                store.record(RecordBatch(removed_releases=some), held.fence)
                dropped += len(some)
                if rest():
                    return dropped, contents
            if surplus.removed_orders:
                store.record(RecordBatch(removed_orders=surplus.removed_orders), held.fence)
    if store.retained.contents.has_unused():
        with _lease(parts) as held:
            while count := store.retained.contents.drop_unused(held.fence):
                contents += count
                if rest():
                    break
    return dropped, contents


def _suspect(instances: Mapping[ResourceKey, DesiredInstance], store: Store) -> Sequence[str]:
    """Tenants that may have releases too many, by their number alone: one besides the kept ones
    runs."""
    tally = store.retained.tally
    tenants = {key.tenant for key in tally.find_unlisted() if key not in instances}
    for key, count in tally.count_releases().items():
        wanted = instances.get(key)
        if wanted is not None and count > wanted.params.revision_history_limit + 1:
            tenants.add(key.tenant)
    return sorted(tenants)


def _lease(parts: PassParts) -> AbstractContextManager[HeldLease]:
    return hold_lease(parts.store, parts.clock, _NO_WAIT, parts.cancel)


def _batches(items: Sequence[_T], size: int) -> Iterator[tuple[_T, ...]]:
    rows = iter(items)
    while some := tuple(islice(rows, size)):
        yield some
