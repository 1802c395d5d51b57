"""The worker that measures what replicas use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from ctrlplane_gitops.clock import Clock
from ctrlplane_gitops.errors import CtrlplaneError
from ctrlplane_gitops.execute.pool import Pool
from ctrlplane_gitops.providers.base import Capability, Provider
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.observed import ObservedReplica, ReplicaPhase
from ctrlplane_gitops.state.usage import Usage
from ctrlplane_gitops.telemetry.sample import NOTHING, Reading, Sample, add_samples
from ctrlplane_gitops.telemetry.series import Telemetry
from ctrlplane_gitops.value import field, struct
from ctrlplane_gitops.workers.fleet import Fleet, Looks
from ctrlplane_gitops.workers.worker import Ran

# Until there is something to measure.
_NOT_YET = timedelta(seconds=1)
_NEVER = datetime.min.replace(tzinfo=UTC)
_LEAST = timedelta(milliseconds=100)


@struct
class UsageFigures:
    """Of one provider in one round: replicas that run and those of them that were measured, and
    what these used together."""

    running: int = 0
    measured: int = 0
    total: Sample = NOTHING


@struct
class _Answer:
    """What a provider measured, and when; nothing where that failed."""

    usages: Mapping[str, Usage] = field(default_factory=dict)
    at: datetime = _NEVER
    error: str = ""


class TelemetryCollector:
    """Asks every provider once a round what its replicas use. Rounds begin with the slots of
    ``telemetry``, whose step ``interval`` is, so that each has its own; a round that is missed, or
    a provider that does not answer, is a gap. Providers are asked side by side.

    What runs is taken from a look that others may have made, as old as a round at most."""

    def __init__(
        self,
        find_fleet: Callable[[], Fleet | None],
        looks: Looks,
        telemetry: Telemetry,
        pool: Pool,
        clock: Clock,
        interval: timedelta,
        on_figures: Callable[[Mapping[str, UsageFigures]], None] = lambda figures: None,
    ) -> None:
        self._find_fleet = find_fleet
        self._looks = looks
        self._telemetry = telemetry
        self._pool = pool
        self._clock = clock
        self._interval = interval
        self._on_figures = on_figures

    def run(self) -> Ran:
        """One round."""
        fleet, at = self._find_fleet(), self._clock.now()
        if fleet is None:
            return Ran(_NOT_YET)
        running = self._find_running(fleet)
        asked = {
            name: self._pool.submit(
                _ask(fleet.providers[name], [item for _, item in items], self._clock)
            )
            for name, items in running.items()
        }
        readings: dict[str, tuple[ResourceKey, Reading]] = {}
        measured: dict[str, int] = {}
        errors: list[str] = []
        for name, items in running.items():
            answer = asked[name].result()
            measured[name] = len(answer.usages)
            errors += filter(None, [answer.error])
            for key, replica in items:
                usage = answer.usages.get(replica.name)
                if usage is not None:
                    identity = (name, replica.id, replica.started_at)
                    reading = Reading(answer.at.timestamp(), identity, usage)
                    readings[replica.name] = (key, reading)
        samples = self._telemetry.put(at, readings)
        self._on_figures(
            {
                name: UsageFigures(len(items), measured[name], _total(items, samples))
                for name, items in running.items()
            }
        )
        return Ran(self._until_next(at), "; ".join(errors))

    def _find_running(self, fleet: Fleet) -> dict[str, list[tuple[ResourceKey, ObservedReplica]]]:
        """Of every provider, what its replicas belong to."""
        found: dict[str, list[tuple[ResourceKey, ObservedReplica]]] = {
            name: [] for name in fleet.providers
        }
        for item in self._looks.read(fleet, self._interval * 0.9).observed.replica_sets:
            found[item.provider] += [
                (item.instance, replica)
                for replica in item.replicas
                if replica.phase is ReplicaPhase.RUNNING
            ]
        return {name: items for name, items in found.items() if items}

    def _until_next(self, at: datetime) -> timedelta:
        """To the beginning of the next slot."""
        step = self._interval.total_seconds()
        begun = at.timestamp() // step * step
        passed = self._clock.now().timestamp() - begun
        return max(_LEAST, timedelta(seconds=step - passed % step))


def _ask(
    provider: Provider, replicas: list[ObservedReplica], clock: Clock
) -> Callable[[], _Answer]:
    """Never raises an error of ours: one that is handed on by a future holds everything that was
    at hand where it was raised and caught, until the collector comes."""

    def ask() -> _Answer:
        if Capability.USAGE not in provider.capabilities:
            text = f"{provider.name} has no capability {Capability.USAGE.value!r}, so nothing is "
            return _Answer(error=f"{text}known of what its replicas use")
        try:
            return _Answer(provider.read_usage(replicas), clock.now())
        except CtrlplaneError as error:
            return _Answer(error=error.message)

    return ask


def _total(
    items: list[tuple[ResourceKey, ObservedReplica]], samples: Mapping[str, Sample]
) -> Sample:
    total = NOTHING
    for _, replica in items:
        total = add_samples(total, samples.get(replica.name, NOTHING))
    return total
