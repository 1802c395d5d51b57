"""``promote``, ``abort``, ``pause`` and ``resume``: what people ask of a rollout under way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ctrlplane_gitops.app import App, open_plane
from ctrlplane_gitops.cli.apply import about_instance, run_and_show
from ctrlplane_gitops.cli.context import Context, opened
from ctrlplane_gitops.cli.exit_codes import ExitCode
from ctrlplane_gitops.cli.history import parse_instance
from ctrlplane_gitops.errors import UsageError
from ctrlplane_gitops.events.event import EventType, make_event
from ctrlplane_gitops.execute.holder import is_dead, name_holder
from ctrlplane_gitops.execute.lease import LEASE
from ctrlplane_gitops.ids import IdPrefix, new_id
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.recorded import AuditEntry, Order, RecordedInstance, RolloutPhase
from ctrlplane_gitops.store.base import Store
from ctrlplane_gitops.value import struct


@struct
class _Verb:
    """``change`` makes the new order of the one there is; ``said`` is how it is written down."""

    name: str
    event: EventType
    said: str
    change: Callable[[Order, RecordedInstance], Order]
    is_followed: bool = True


def run_promote(context: Context) -> ExitCode:
    """Pass the present step of a rollout, or with --full all of them."""
    is_full = context.options["full"]

    def change(order: Order, known: RecordedInstance) -> Order:
        promoted = max(order.promoted, known.rollout.step + 1)
        return replace(order, promoted=promoted, is_full=order.is_full or is_full, is_paused=False)

    name = "promote --full" if is_full else "promote"
    said = "all steps are passed" if is_full else "the present step is passed"
    return _give(context, _Verb(name, EventType.ROLLOUT_PROMOTED, said, change))


def run_abort(context: Context) -> ExitCode:
    """Return to the release before."""
    verb = _Verb(
        "abort",
        EventType.ROLLOUT_ABORTED,
        "the release before is returned to",
        lambda order, known: replace(order, is_aborted=True, is_paused=False),
    )
    return _give(context, verb)


def run_pause(context: Context) -> ExitCode:
    """Leave a rollout where it is until somebody resumes it."""
    verb = _Verb(
        "pause",
        EventType.ROLLOUT_PAUSED,
        "nothing is moved until resume",
        lambda order, known: replace(order, is_paused=True),
        is_followed=False,
    )
    return _give(context, verb)


def run_resume(context: Context) -> ExitCode:
    """Go on with a paused rollout."""

    def change(order: Order, known: RecordedInstance) -> Order:
        if not order.is_paused:
            raise UsageError(
                f"the rollout of {known.key} is not paused",
                hint="it goes on by itself or waits for promote; status shows which",
            )
        return replace(order, is_paused=False)

    verb = _Verb("resume", EventType.ROLLOUT_RESUMED, "the rollout goes on", change)
    return _give(context, verb)


def _give(context: Context, verb: _Verb) -> ExitCode:
    """Write the order down, which needs no lease, and see that it is followed: by an apply under
    way, else by a pass of our own."""
    key = parse_instance(context.options["address"])

    read, policy = about_instance(context, key)
    with opened(context) as app:
        _, desired = read(app)
        with open_plane(app, desired.plane, is_read_only=False) as plane:
            order = _write(context, app, plane.store, key, verb)
            holder = _find_holder(context, plane.store)
        label = f"v{order.target} of {key}"
        if not verb.is_followed or context.options["detach"] or holder:
            who = f"the apply under way ({holder})" if holder else "the next apply"
            context.terminal.note(f"{verb.name} {label}: {verb.said}; {who} follows it")
            return ExitCode.OK
        # Whoever gives an order need not be asked whether it is meant.
        approved = replace(context, options={**context.options, "auto_approve": True})
        is_abort = verb.event is EventType.ROLLOUT_ABORTED
        expected = ExitCode.ROLLED_BACK if is_abort else None
        return run_and_show(approved, app, read, policy, expected=expected)


def _write(context: Context, app: App, store: Store, key: ResourceKey, verb: _Verb) -> Order:
    state = store.load_state([key.tenant])
    known = state.instances.get(key)
    target = None if known is None else known.rollout.target
    if known is None or target is None or known.rollout.phase is not RolloutPhase.PROGRESSING:
        raise UsageError(
            f"no rollout of {key} is under way", hint="status shows what is; history what was"
        )
    order = state.orders.get(key)
    if order is None or order.target != target:
        order = Order(key, target)
    order = verb.change(order, known)
    now, actor = context.clock.now(), app.settings.actor
    text = f"v{target}: {verb.said}"
    event = make_event(verb.event, now, key.address, text, {"release": f"v{target}"})
    entry = AuditEntry(
        new_id(IdPrefix.AUDIT, now), now, actor, f"{verb.name} v{target}", key.address, "", "told"
    )
    store.give_order(order, event, entry)
    return order


def _find_holder(context: Context, store: Store) -> str:
    """Who applies at the moment, "" when nobody does."""
    lease = store.read_lease(LEASE)
    if lease is None or lease.expires_at <= context.clock.now() or is_dead(lease.holder):
        return ""
    return name_holder(lease.holder)
