"""What is asked of a router in a pool. Nothing here raises."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from ctrlplane_gitops.errors import CtrlplaneError, ProviderError
from ctrlplane_gitops.network.router import Router
from ctrlplane_gitops.redact import SecretValue
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.traffic import Member, RouteTable

_LIVE_TIMEOUT = timedelta(seconds=5)


@dataclass(slots=True)
class Written:
    """What came of a write. ``error`` is terminal unless it may be tried again. ``refused`` are
    routes that are not served as they were told, although the write is live."""

    version: int
    is_live: bool = False
    message: str = ""
    error: CtrlplaneError | None = None
    refused: Mapping[ResourceKey, str] = field(default_factory=dict)


def write_table(
    router: Router,
    version: int,
    table: RouteTable,
    certificates: Mapping[ResourceKey, SecretValue],
) -> Written:
    """Write a table and wait until it is served. An adapter that raises has a bug."""
    try:
        router.ensure_running()
        generation = router.apply(table, certificates)
        report = router.wait_live(generation, _LIVE_TIMEOUT)
        return Written(version, report.is_live, report.message, refused=report.refused)
    except CtrlplaneError as error:
        return Written(version, message=error.message, error=error)
    except Exception as bug:
        text = f"unexpected {type(bug).__name__}: {bug}"
        return Written(version, message=text, error=ProviderError(text))


def count_members(
    router: Router, asked: Mapping[ResourceKey, Collection[Member]]
) -> dict[ResourceKey, int | None]:
    """Requests in flight to these members of each instance; what cannot be counted is not known
    to be over (None)."""
    found: dict[ResourceKey, int | None] = {}
    for key, members in asked.items():
        try:
            found[key] = router.count_in_flight(members)
        except CtrlplaneError:
            found[key] = None
    return found
