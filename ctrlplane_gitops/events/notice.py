"""What of all that happens is worth a message: a failure once, however often it repeats, and once
that it is over. Pure: the time is that of the events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from fnmatch import fnmatchcase

from ctrlplane_gitops.events.event import EventType
from ctrlplane_gitops.state.desired import Notification
from ctrlplane_gitops.state.log import tenant_of
from ctrlplane_gitops.state.notification import Notice
from ctrlplane_gitops.state.recorded import Event
from ctrlplane_gitops.value import replace, struct

# What happens again after so long is told again, and what flaps is over when it has not.
QUIET = timedelta(hours=1)
# A failure that nobody ever ended is not remembered for ever.
FORGOTTEN_AFTER = timedelta(days=30)


@struct
class Rule:
    """What a type means. ``kind`` is the failure it is, "" for none; it ``ends`` failures of those
    kinds. ``scope`` names the fields of the data that tell failures of one kind apart, which end
    one by one; ``detail`` those that make a failure another one, worth a message of its own.
    A detail ``message`` is what it says.
    ``is_flap``: nothing ends it but that it does not happen again. ``is_last``: its address is no
    more, and nothing of it can fail."""

    type: str
    kind: str = ""
    ends: tuple[str, ...] = ()
    scope: tuple[str, ...] = ()
    detail: tuple[str, ...] = ()
    is_flap: bool = False
    is_last: bool = False


RULES = (
    Rule(EventType.ROLLOUT_FAILED, "rollout", detail=("release",)),
    Rule(EventType.ROLLOUT_ROLLED_BACK, "rollout", detail=("release",)),
    Rule(EventType.ROLLOUT_COMPLETED, ends=("rollout", "action", "work")),
    Rule(EventType.ACTION_FAILED, "action", detail=("code",)),
    Rule(EventType.WORK_SKIPPED, "work"),
    Rule(EventType.INSTANCE_REPAIRED, "repair", ends=("action", "work"), is_flap=True),
    Rule(EventType.HEALTH_FAILED, "health", scope=("check",)),
    Rule(EventType.HEALTH_DEGRADED, "health", scope=("check",)),
    Rule(EventType.HEALTH_RECOVERED, ends=("health",), scope=("check",)),
    Rule(EventType.HEALTH_PASSED, ends=("health",), scope=("check",)),
    Rule(EventType.CERTIFICATE_EXPIRING, "certificate", detail=("threshold",)),
    Rule(EventType.CERTIFICATE_RENEWED, ends=("certificate",)),
    Rule(EventType.CERTIFICATE_ISSUED, ends=("certificate",)),
    Rule(EventType.INSTANCE_QUARANTINED, "quarantine"),
    Rule(EventType.INSTANCE_RELEASED, ends=("quarantine",)),
    Rule(EventType.DRIFT_DETECTED, "drift", detail=("message",)),
    Rule(EventType.DRIFT_RESOLVED, ends=("drift",)),
    Rule(EventType.INSTANCE_REMOVED, is_last=True),
    Rule(EventType.TENANT_REMOVED, is_last=True),
)
"""By type; one that is not here is a message each time."""

_RULES: Mapping[str, Rule] = {str(rule.type): rule for rule in RULES}
_FLAPS = frozenset(rule.kind for rule in RULES if rule.is_flap)
_SINGLE = Rule("")


class Status(StrEnum):
    """``failure``: the first time, or again after a quiet hour; ``recovery``: it is over;
    ``settled``: what flapped has not for an hour; ``single``: neither."""

    SINGLE = "single"
    FAILURE = "failure"
    RECOVERY = "recovery"
    SETTLED = "settled"


@struct
class Told:
    """A message to be: which subscription is told what. ``count`` is how often it has happened,
    ``since`` when it began; 0 and None where there is nothing to count."""

    subscription: str
    event: Event
    status: Status = Status.SINGLE
    count: int = 0
    since: datetime | None = None


@struct
class Fold:
    """All notices by key as they are afterwards, and the messages, in order."""

    notices: Mapping[tuple[str, str, str, str], Notice]
    told: tuple[Told, ...]


def fold(
    notices: Iterable[Notice], events: Iterable[Event], subscriptions: Sequence[Notification]
) -> Fold:
    """Events in the order they were written, one after the other."""
    known = {item.key: item for item in notices}
    told: list[Told] = []
    for event in events:
        rule = _RULES.get(event.type, _SINGLE)
        for subscription in subscriptions:
            said = _take(known, event, rule, subscription.name, is_asked(subscription, event))
            if said is not None:
                told.append(said)
    return Fold(known, tuple(told))


def settle(notices: Iterable[Notice], now: datetime) -> Fold:
    """What time alone brings: what flapped has settled, what is very old is forgotten."""
    known = {item.key: item for item in notices}
    told: list[Told] = []
    for notice in list(known.values()):
        age = now - notice.last_at
        is_flap = notice.kind.partition(":")[0] in _FLAPS
        if age < (QUIET if is_flap else FORGOTTEN_AFTER):
            continue
        del known[notice.key]
        if is_flap and notice.count > 1:
            type = notice.identity.partition(" ")[0]
            event = Event(
                notice.event, notice.last_at, type, notice.address,
                f"{notice.count} times, and not for an hour: {notice.message}",
            )  # fmt: skip
            told.append(
                Told(notice.subscription, event, Status.SETTLED, notice.count, notice.since)
            )
    return Fold(known, tuple(told))


def is_asked(subscription: Notification, event: Event) -> bool:
    """Whether the subscription is about such an event. What belongs to no tenant is for those
    who ask for every tenant."""
    tenant = tenant_of(event.address)
    return any(fnmatchcase(event.type, item) for item in subscription.events) and any(
        fnmatchcase(tenant, item) for item in subscription.tenants
    )


def _take(
    known: dict[tuple[str, str, str, str], Notice],
    event: Event,
    rule: Rule,
    subscription: str,
    is_wanted: bool,
) -> Told | None:
    """One event for one subscription; ``known`` is brought up to date. A failure ends even for
    who did not ask to be told of that."""
    ended = list(_ended(known, event, rule, subscription))
    for notice in ended:
        del known[notice.key]
    if not is_wanted:
        return None
    said = _fail(known, event, rule, subscription) if rule.kind else None
    if ended and not rule.is_last:
        count = sum(item.count for item in ended)
        since = min(item.since for item in ended)
        return Told(subscription, event, Status.RECOVERY, count, since)
    return said if rule.kind else Told(subscription, event)


def _fail(
    known: dict[tuple[str, str, str, str], Notice], event: Event, rule: Rule, subscription: str
) -> Told | None:
    identity = " ".join([event.type, *_values(event, rule.detail)])
    fresh = Notice(
        subscription, subject_of(event.address), _kind_of(rule.kind, event, rule.scope),
        identity, 1, event.at, event.at, event.id, event.message,
    )  # fmt: skip
    before = known.get(fresh.key)
    is_quiet = before is not None and event.at - before.last_at >= QUIET
    if before is not None and not (is_quiet and rule.is_flap):
        fresh = replace(fresh, count=before.count + 1, since=before.since)
    known[fresh.key] = fresh
    if before is not None and not is_quiet:
        return None
    return Told(subscription, event, Status.FAILURE, fresh.count, fresh.since)


def _ended(
    known: Mapping[tuple[str, str, str, str], Notice], event: Event, rule: Rule, subscription: str
) -> Iterator[Notice]:
    if not rule.ends and not rule.is_last:
        return
    kinds = {_kind_of(kind, event, rule.scope) for kind in rule.ends}
    subject = subject_of(event.address)
    # With a tenant goes all that it had.
    tenant = tenant_of(subject) if rule.is_last and subject.startswith("tenant/") else ""
    for notice in known.values():
        is_of = notice.address == subject or (tenant and tenant_of(notice.address) == tenant)
        if notice.subscription == subscription and is_of and (rule.is_last or notice.kind in kinds):
            yield notice


def subject_of(address: str) -> str:
    """What an event is about: a deployment is its instance's.

    >>> subject_of("deployment/acme/web"), subject_of("tenant/acme")
    ('instance/acme/web', 'tenant/acme')
    """
    kind, slash, rest = address.partition("/")
    return f"instance/{rest}" if kind == "deployment" and slash else address


def _kind_of(kind: str, event: Event, scope: tuple[str, ...]) -> str:
    return ":".join([kind, *_values(event, scope)])


def _values(event: Event, names: tuple[str, ...]) -> list[str]:
    known = {"message": event.message, **event.data}
    return [known[name] for name in names if name in known]
