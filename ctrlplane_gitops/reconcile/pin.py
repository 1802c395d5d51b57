"""``rollback``: run an earlier release until told otherwise."""

from __future__ import annotations

from ctrlplane_gitops.clock import Clock
from ctrlplane_gitops.errors import ConflictError, UsageError
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


def build_pin(
    key: ResourceKey, clock: Clock, actor: str, wanted: str | None = None, *, is_clear: bool = False
) -> Amendment:
    """Pin an instance to the release ``wanted`` (``v3``; None: the one before), or with
    ``is_clear`` let it follow Git again. The change raises UsageError where that cannot be."""

    def pin(recorded: RecordedState) -> RecordedState:
        known = recorded.instances.get(key)
        if known is None:
            raise ConflictError(f"nothing is recorded of {key}", hint="apply it first")
        if is_clear and known.pin is None:
            raise ConflictError(f"{key} is not pinned")
        number = None if is_clear else _choose(recorded, known, wanted)
        pinned = replace(known, pin=number)
        return replace(recorded, instances={**recorded.instances, key: pinned})

    def write(store: Store, held: HeldLease, commit: str) -> None:
        known = pin(store.load_state()).instances[key]
        journal = Journal(store, held.fence, clock, actor, Redactor(), lambda event: None)
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
        raise ConflictError(f"{known.key} has no release v{number}", hint=f"kept are: {kept}")
    if releases[number].state is ReleaseState.FAILED:
        raise ConflictError(
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
        raise ConflictError(
            f"{known.key} has no earlier release", hint="history lists what is kept"
        )
    return max(earlier)
