"""``promote``, ``abort``, ``pause`` and ``resume``: what people ask of a rollout under way."""

from __future__ import annotations

from dataclasses import replace

from ctrlplane_gitops.app import open_plane
from ctrlplane_gitops.cli.apply import about_instance, run_and_show
from ctrlplane_gitops.cli.context import Context, opened
from ctrlplane_gitops.cli.exit_codes import ExitCode
from ctrlplane_gitops.cli.history import parse_instance
from ctrlplane_gitops.events.event import EventType
from ctrlplane_gitops.execute.holder import is_dead, name_holder
from ctrlplane_gitops.execute.lease import LEASE
from ctrlplane_gitops.reconcile.order import ABORT, PAUSE, RESUME, Steer, give_order, promote
from ctrlplane_gitops.store.base import Store


def run_promote(context: Context) -> ExitCode:
    """Pass the present step of a rollout, or with --full all of them."""
    return _give(context, promote(is_full=context.options["full"]))


def run_abort(context: Context) -> ExitCode:
    """Return to the release before."""
    return _give(context, ABORT)


def run_pause(context: Context) -> ExitCode:
    """Leave a rollout where it is until somebody resumes it."""
    return _give(context, PAUSE)


def run_resume(context: Context) -> ExitCode:
    """Go on with a paused rollout."""
    return _give(context, RESUME)


def _give(context: Context, steer: Steer) -> ExitCode:
    """Write the order down, which needs no lease, and see that it is followed: by an apply under
    way, else by a pass of our own."""
    key = parse_instance(context.options["address"])

    read, policy = about_instance(context, key)
    with opened(context) as app:
        _, desired = read(app)
        with open_plane(app, desired.plane, is_read_only=False) as plane:
            actor = app.settings.actor
            order = give_order(plane.store, context.clock.now(), actor, key, steer)
            holder = _find_holder(context, plane.store)
        label = f"v{order.target} of {key}"
        if not steer.is_followed or context.options["detach"] or holder:
            who = f"the apply under way ({holder})" if holder else "the next apply"
            context.terminal.note(f"{steer.name} {label}: {steer.said}; {who} follows it")
            return ExitCode.OK
        # Whoever gives an order need not be asked whether it is meant.
        approved = replace(context, options={**context.options, "auto_approve": True})
        is_abort = steer.event is EventType.ROLLOUT_ABORTED
        expected = ExitCode.ROLLED_BACK if is_abort else None
        return run_and_show(approved, app, read, policy, expected=expected)


def _find_holder(context: Context, store: Store) -> str:
    """Who applies at the moment, "" when nobody does."""
    lease = store.read_lease(LEASE)
    if lease is None or lease.expires_at <= context.clock.now() or is_dead(lease.holder):
        return ""
    return name_holder(lease.holder)
