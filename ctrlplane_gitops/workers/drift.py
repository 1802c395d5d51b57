"""What is made of drift that nobody asked about: corrected, reported, or left because correcting
it again and again mends nothing. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta

from ctrlplane_gitops.events.event import EventType
from ctrlplane_gitops.execute.batch import Alert
from ctrlplane_gitops.execute.part import WorkResult
from ctrlplane_gitops.execute.step import WorkState
from ctrlplane_gitops.plan.change import Blocked, Plan
from ctrlplane_gitops.state.desired import DesiredInstance
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.value import field, replace, struct
from ctrlplane_gitops.workers.backlog import wish_of

# So many corrections within so long, and the next one is not made.
LIMIT = 3
WINDOW = timedelta(minutes=10)

_OBSERVED = Blocked(
    "observed", "drift is only reported here", "drift: enforce has it corrected; so does apply"
)
_QUARANTINED = Blocked(
    "quarantined",
    f"it has been corrected {LIMIT} times within {int(WINDOW.total_seconds() // 60)} minutes and"
    " drifted again",
    "find out who changes it; it is left until its specs change, somebody applies it or asks for"
    " a reconcile",
)


@struct
class DriftLog:
    """``corrected`` is when each instance was, ``quarantined`` what was wanted of those that are
    left, ``told`` the drift that was reported of whom."""

    corrected: Mapping[ResourceKey, tuple[datetime, ...]] = field(default_factory=dict)
    quarantined: Mapping[ResourceKey, str] = field(default_factory=dict)
    told: Mapping[ResourceKey, str] = field(default_factory=dict)

    def holds(
        self, wanted: Mapping[ResourceKey, DesiredInstance], now: datetime
    ) -> dict[ResourceKey, Blocked]:
        """Whose drift is to be left, and why."""
        found = {key: _OBSERVED for key, item in wanted.items() if item.is_drift_observed}
        for key, wish in self.quarantined.items():
            if wish and wish_of(wanted.get(key)) == wish:
                found.setdefault(key, _QUARANTINED)
        for key, times in self.corrected.items():
            if sum(1 for at in times if now - at < WINDOW) >= LIMIT:
                found.setdefault(key, _QUARANTINED)
        return found

    def without(self, keys: Iterable[ResourceKey]) -> DriftLog:
        """Correct these again; that it is over is told with the next plan."""
        gone = frozenset(keys)
        return replace(
            self,
            corrected={key: item for key, item in self.corrected.items() if key not in gone},
            quarantined={k: "" if k in gone else wish for k, wish in self.quarantined.items()},
        )


def after_plan(
    log: DriftLog,
    plan: Plan,
    wanted: Mapping[ResourceKey, DesiredInstance],
    seen: Collection[ResourceKey] | None,
) -> tuple[DriftLog, tuple[Alert, ...]]:
    """What is left is told once: who is quarantined, what drifted where it is only reported, and
    when either is over. ``seen`` are the instances that the plan is about, None: all."""
    left = {item.key: item.text for item in plan.drift if not item.is_corrected}
    codes = {item.key: item.blocked.code for item in plan.blocked if item.blocked is not None}
    quarantined = dict(log.quarantined)
    told = dict(log.told)
    alerts: list[Alert] = []
    for key, text in sorted(left.items()):
        code = codes.get(key)
        if code == "quarantined" and key not in quarantined:
            quarantined[key] = wish_of(wanted.get(key))
            reason = f"{_QUARANTINED.reason}: {text}"
            alerts.append(Alert(EventType.INSTANCE_QUARANTINED, key.address, reason))
        elif code == "observed" and told.get(key) != text:
            told[key] = text
            alerts.append(Alert(EventType.DRIFT_DETECTED, key.address, text))
    for key in sorted({*quarantined, *told} - left.keys()):
        if seen is not None and key not in seen:
            continue
        if quarantined.pop(key, None) is not None:
            alerts.append(
                Alert(EventType.INSTANCE_RELEASED, key.address, "drift is corrected again")
            )
        if told.pop(key, None) is not None:
            alerts.append(Alert(EventType.DRIFT_RESOLVED, key.address, "as the specs say again"))
    return replace(log, quarantined=quarantined, told=told), tuple(alerts)


def after_corrections(
    log: DriftLog, plan: Plan, results: Iterable[WorkResult], now: datetime
) -> DriftLog:
    """Count what was corrected. Corrections older than matters are forgotten."""
    drifted = {item.key for item in plan.drift if item.is_corrected}
    corrected = {
        key: recent
        for key, times in log.corrected.items()
        if (recent := tuple(at for at in times if now - at < WINDOW))
    }
    for result in results:
        if result.state is WorkState.DONE and result.instance in drifted:
            corrected[result.instance] = (*corrected.get(result.instance, ()), now)
    return replace(log, corrected=corrected)
