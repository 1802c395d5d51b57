"""One pass: look, compare, act. Every trigger means this and nothing else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import timedelta

from ctrlplane_gitops.clock import Clock
from ctrlplane_gitops.errors import LockError
from ctrlplane_gitops.execute.apply import apply_plan
from ctrlplane_gitops.execute.batch import Batch
from ctrlplane_gitops.execute.journal import Journal
from ctrlplane_gitops.execute.lease import HeldLease, hold_lease
from ctrlplane_gitops.execute.material import Materials
from ctrlplane_gitops.execute.part import ApplyParts, ApplyResult
from ctrlplane_gitops.execute.pool import Pool
from ctrlplane_gitops.execute.traffic import Traffic
from ctrlplane_gitops.network.router import Router
from ctrlplane_gitops.plan.change import Policy
from ctrlplane_gitops.providers.base import Provider
from ctrlplane_gitops.reconcile.certify import Certify
from ctrlplane_gitops.reconcile.gather import Wanted
from ctrlplane_gitops.reconcile.issue import (
    Issuance,
    add_issued,
    concerned,
    issue_all,
    tell_issued,
)
from ctrlplane_gitops.reconcile.look import Look, as_recorded, look
from ctrlplane_gitops.redact import Redactor
from ctrlplane_gitops.state.desired import DesiredState
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.recorded import Event, RecordedState
from ctrlplane_gitops.store.base import Store
from ctrlplane_gitops.value import struct


@struct
class PassParts:
    """What a pass works with. ``on_event`` is told of every event once it is
    written, ``on_wait`` what an instance is waiting for.
    ``lock_timeout`` is how long to wait for another pass; ``timeout`` None: no limit.
    ``certify`` None: no certificate can be issued."""

    store: Store
    providers: Mapping[str, Provider]
    clock: Clock
    actions: Pool
    looks: Pool
    probes: Pool
    cancel: threading.Event
    actor: str
    on_event: Callable[[Event], None]
    on_wait: Callable[[ResourceKey, str], None]
    lock_timeout: timedelta = timedelta(seconds=30)
    timeout: timedelta | None = None
    is_detached: bool = False
    router: Router | None = None
    analyses: Pool | None = None
    certify: Certify | None = None


@struct
class Amendment:
    """A change of the record that a pass begins with (a pin). ``change`` is what the plan is made
    from; ``write`` writes it down once the plan is approved (last: the commit)."""

    change: Callable[[RecordedState], RecordedState]
    write: Callable[[Store, HeldLease, str], None]


Specs = tuple[Wanted, DesiredState]


def run_pass(
    specs: Specs,
    read: Callable[[], Specs],
    parts: PassParts,
    policy: Policy,
    approve: Callable[[Look], None],
    amendment: Amendment | None = None,
    widen: Callable[[], Wanted] | None = None,
) -> tuple[Look, ApplyResult]:
    """A pass under the lease. ``specs`` are what ``read`` gave last; after a wait they are read
    anew. ``approve`` sees the plan and raises to stop it; ``widen`` is ``look``'s. LockError when
    the lease is not to be had in time."""
    with hold_lease(parts.store, parts.clock, parts.lock_timeout, parts.cancel) as held:
        if held.has_waited:
            specs = read_again(specs, read)
        wanted, desired = specs
        seen = look(
            wanted,
            desired,
            parts.providers,
            parts.store,
            parts.looks,
            policy,
            parts.clock.now(),
            as_recorded if amendment is None else amendment.change,
            widen,
            router=parts.router,
        )
        approve(seen)
        if amendment is not None:
            amendment.write(parts.store, held, wanted.snapshot.commit)
        return seen, apply_plan(
            build_batch(seen, parts), build_parts(desired.plane.name, parts, held)
        )


def build_batch(seen: Look, parts: PassParts, mark: int = 0) -> Batch:
    """What is to be done about what was seen. Certificates are issued here: nobody may be sent to
    a route before it has one. ``mark`` is the loop's at the time before."""
    wanted, desired, plan = seen.wanted, seen.desired, seen.plan
    made = Issuance()
    if plan.issues and parts.certify is not None:
        made = issue_all(plan.issues, parts.certify(desired.plane))
        plan = add_issued(plan, made)
    secrets = {**(wanted.secrets or {}), **made.values}
    batch = Batch(
        plan,
        seen.recorded,
        Materials(
            desired.blobs,
            wanted.snapshot.entries.values(),
            wanted.snapshot.read,
            parts.store.read_blob,
            secrets,
        ),
        secrets,
        seen.observed if wanted.part is None else None,
        mark,
        alerts=tell_issued(made, seen.recorded),
    )
    batch.fail(concerned(made.errors, desired))
    return batch


def build_parts(plane: str, parts: PassParts, held: HeldLease) -> ApplyParts:
    """What the works of a control plane are done with, under a lease."""
    clock, store = parts.clock, parts.store
    journal = Journal(store, held.fence, clock, parts.actor, Redactor(), parts.on_event)
    router = parts.router
    return ApplyParts(
        journal,
        parts.providers,
        Materials.empty(),
        clock,
        parts.actions,
        parts.looks,
        parts.probes,
        parts.cancel,
        held.lost,
        None if parts.timeout is None else clock.now() + parts.timeout,
        parts.is_detached,
        parts.on_wait,
        None if router is None else Traffic(router, plane, parts.looks, clock, journal),
        store.read_orders,
        parts.analyses,
    )


def read_again(before: Specs, read: Callable[[], Specs]) -> Specs:
    """What was read before the wait may be older than what has been done meanwhile: it would undo
    that. The store and the providers are opened already, so they must be the same."""
    specs = read()
    if specs[1].plane != before[1].plane:
        raise LockError(
            "the control plane itself was changed while another apply was at work",
            hint="run it again",
        )
    return specs
