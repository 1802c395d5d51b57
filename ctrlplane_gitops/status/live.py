"""What was seen and probed last, for whoever asks without looking again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import cached_property

from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.observed import ObservedReplicaSet, ObservedState
from ctrlplane_gitops.state.traffic import RouteEntry
from ctrlplane_gitops.status.view import InstanceStatus, StatusDocument, VerdictOf


class Live:
    """A look at everything, as of ``at``. It is never changed; what is looked up in it is put in
    order when somebody first asks."""

    def __init__(
        self, at: datetime, document: StatusDocument, observed: ObservedState, verdicts: VerdictOf
    ) -> None:
        self.at = at
        self.document = document
        self.verdicts = verdicts
        self._observed = observed

    @cached_property
    def instances(self) -> Mapping[ResourceKey, InstanceStatus]:
        return {item.key: item for item in self.document.instances}

    @cached_property
    def sets(self) -> Mapping[ResourceKey, tuple[ObservedReplicaSet, ...]]:
        """Replica sets by instance, sorted by release."""
        return self._observed.by_instance()

    @cached_property
    def entries(self) -> Mapping[ResourceKey, tuple[RouteEntry, ...]]:
        """What the router serves, by route; nothing where it does not say."""
        router, found = self._observed.router, dict[ResourceKey, list[RouteEntry]]()
        if router is not None and router.gap is None:
            for entry in router.table.entries:
                found.setdefault(entry.key, []).append(entry)
        return {key: tuple(entries) for key, entries in found.items()}
