"""What has failed, instance by instance, and when it is tried again. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

from ctrlplane_gitops.execute.part import WorkResult
from ctrlplane_gitops.execute.step import WorkState
from ctrlplane_gitops.plan.change import Blocked
from ctrlplane_gitops.state.desired import DesiredInstance
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.value import field, replace, struct
from ctrlplane_gitops.workers.backoff import backoff

_FAILED = frozenset({WorkState.FAILED, WorkState.SKIPPED})
_DONE = frozenset({WorkState.DONE, WorkState.STARTED, WorkState.WAITING, WorkState.ROLLED_BACK})


@struct
class Setback:
    """``wish`` is what was wanted of the instance when it failed, ``failures`` how many times in a
    row."""

    wish: str
    failures: int
    until: datetime
    message: str


@struct
class Backlog:
    setbacks: Mapping[ResourceKey, Setback] = field(default_factory=dict)

    def holds(
        self, wanted: Mapping[ResourceKey, DesiredInstance], now: datetime
    ) -> dict[ResourceKey, Blocked]:
        """Whom to leave alone at this moment; nobody of whom something else is wanted by now."""
        return {
            key: Blocked(
                "backoff",
                f"failed {item.failures} {'time' if item.failures == 1 else 'times'}"
                f" in a row: {item.message}",
                "it is tried again by itself, and at once when its specs change",
            )
            for key, item in self.setbacks.items()
            if now < item.until and wish_of(wanted.get(key)) == item.wish
        }

    def due(self, now: datetime) -> frozenset[ResourceKey]:
        """Whose next try has come."""
        return frozenset(key for key, item in self.setbacks.items() if now >= item.until)

    @property
    def next_at(self) -> datetime | None:
        return min((item.until for item in self.setbacks.values()), default=None)

    def put_off(self, keys: Iterable[ResourceKey], until: datetime) -> Backlog:
        """These are being tried; nobody need come back for them before that."""
        setbacks = dict(self.setbacks)
        for key in keys:
            if key in setbacks:
                setbacks[key] = replace(setbacks[key], until=until)
        return Backlog(setbacks)

    def without(self, keys: Iterable[ResourceKey]) -> Backlog:
        """Forget what went wrong with these."""
        gone = frozenset(keys)
        return Backlog({key: item for key, item in self.setbacks.items() if key not in gone})


def after_results(
    backlog: Backlog,
    results: Iterable[WorkResult],
    wanted: Mapping[ResourceKey, DesiredInstance],
    now: datetime,
    chance: Callable[[], float],
) -> Backlog:
    """What failed waits 5 s, 10 s and so on up to 3 min, each instance for itself; another wish
    begins anew. What has ended in any other way is forgotten."""
    setbacks = dict(backlog.setbacks)
    for result in results:
        key, wish = result.instance, wish_of(wanted.get(result.instance))
        if result.state in _FAILED:
            known = setbacks.get(key)
            failures = known.failures + 1 if known is not None and known.wish == wish else 1
            until = now + backoff(failures, chance())
            setbacks[key] = Setback(wish, failures, until, result.message)
        elif result.state in _DONE:
            setbacks.pop(key, None)
    return Backlog(setbacks)


def wish_of(instance: DesiredInstance | None) -> str:
    """Changes when anything that Git says of an instance does; "" where it says nothing."""
    if instance is None:
        return ""
    deployment = instance.deployment.fingerprint if instance.deployment else ""
    return f"{instance.resource.fingerprint} {deployment} {instance.revision} {instance.replicas}"
