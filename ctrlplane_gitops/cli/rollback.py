"""``rollback``: run an earlier release until told otherwise."""

from __future__ import annotations

from ctrlplane_gitops.app import App
from ctrlplane_gitops.cli.apply import about_instance, run_and_show
from ctrlplane_gitops.cli.context import Context, opened
from ctrlplane_gitops.cli.exit_codes import ExitCode
from ctrlplane_gitops.cli.history import parse_instance
from ctrlplane_gitops.errors import UsageError
from ctrlplane_gitops.events.event import EventType
from ctrlplane_gitops.execute.journal import Journal
from ctrlplane_gitops.execute.lease import HeldLease
from ctrlplane_gitops.reconcile.run import Amendment
from ctrlplane_gitops.redact import Redactor
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.recorded import RecordedInstance, RecordedState
from ctrlplane_gitops.state.template import Release, ReleaseState
from ctrlplane_gitops.store.base import Store
from ctrlplane_gitops.value import replace


def run_rollback(context: Context) -> ExitCode:
    """Pin an instance to an earlier release and roll it out, or unpin it and follow Git."""
    options = context.options
    key = parse_instance(options["address"])
    if options["clear"] and options["to"]:
        raise UsageError("--to and --clear exclude each other")

    with opened(context) as app:
        read, policy = about_instance(context, key)
        return run_and_show(context, app, read, policy, amendment=_pinning(context, app, key))


def _pinning(context: Context, app: App, key: ResourceKey) -> Amendment:
    options = context.options

    def pin(recorded: RecordedState) -> RecordedState:
        known = recorded.instances.get(key)
        if known is None:
            raise UsageError(f"nothing is recorded of {key}", hint="apply it first")
        if options["clear"] and known.pin is None:
            raise UsageError(f"{key} is not pinned")
        number = None if options["clear"] else _choose(recorded, known, options["to"])
        pinned = replace(known, pin=number)
        return replace(recorded, instances={**recorded.instances, key: pinned})

    def write(store: Store, held: HeldLease, commit: str) -> None:
        known = pin(store.load_state()).instances[key]
        journal = Journal(
            store, held.fence, context.clock, app.settings.actor, Redactor(), lambda event: None
        )
        journal.put(instances=(known,))
        if known.pin is None:
            journal.tell(EventType.RELEASE_UNPINNED, key.address, "follows Git again")
            journal.audit("rollback --clear", key.address, "unpinned", commit)
        else:
            journal.tell(EventType.RELEASE_PINNED, key.address, f"v{known.pin} is pinned")
            journal.audit(f"rollback to v{known.pin}", key.address, "pinned", commit)
        journal.flush()

    return Amendment(pin, write)


def _choose(recorded: RecordedState, known: RecordedInstance, wanted: str | None) -> int:
    """The number of the release to pin; UsageError when there is no such release to return to."""
    releases = {item.number: item for item in recorded.releases.get(known.key, ())}
    if wanted is None:
        number = _find_previous(releases, known)
    else:
        digits = wanted.removeprefix("v")
        if not (digits.isascii() and digits.isdigit()):
            raise UsageError(f"{wanted!r} is not a release such as v3")
        number = int(digits)
    if number not in releases:
        kept = ", ".join(item.label for item in releases.values()) or "none"
        raise UsageError(f"{known.key} has no release v{number}", hint=f"kept are: {kept}")
    if releases[number].state is ReleaseState.FAILED:
        raise UsageError(
            f"v{number} failed: {releases[number].reason}", hint="choose another with --to"
        )
    return number


def _find_previous(releases: dict[int, Release], known: RecordedInstance) -> int:
    """The newest superseded release before the active one."""
    earlier = [
        item.number
        for item in releases.values()
        if item.state is ReleaseState.SUPERSEDED and item.number < (known.release or 0)
    ]
    if not earlier:
        raise UsageError(f"{known.key} has no earlier release", hint="history lists what is kept")
    return max(earlier)
