"""The router that is a value keeps the suite's claims about tables, and fails on demand."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from ctrlplane_gitops.errors import CapabilityError, CtrlplaneError, ProviderError, UsageError
from ctrlplane_gitops.network.conformance import A, B, C, RouterConformance
from ctrlplane_gitops.network.conformance_kit import RouterKit, backend
from ctrlplane_gitops.network.memory import MemoryRouter
from ctrlplane_gitops.network.router import Router, RouterSettings
from ctrlplane_gitops.state.traffic import RouterCapability, RouteTable, TrafficCount

MOMENT = timedelta(milliseconds=1)
KIT = RouterKit()
TABLE = RouteTable((KIT.entry(backend(1, 100, A, B)),))
OTHER = RouteTable((KIT.entry(backend(1, 50, A), backend(2, 50, C)),))


def memory_router(root: Path, **options: object) -> MemoryRouter:
    router = MemoryRouter(RouterSettings("conf", "memory", str(root), options))
    router.ensure_running()
    return router


class TestMemoryConformance(RouterConformance):
    def make_router(self, plane: str, root: Path, on_effect: Callable[[str], None]) -> Router:
        options = {"path": f"{plane}.json", "capabilities": ["hitless"]}
        return MemoryRouter(RouterSettings(plane, "memory", str(root), options, on_effect))

    def kill_router(self, router: Router, root: Path) -> None:
        assert isinstance(router, MemoryRouter)
        router.kill()


def test_a_failed_apply_changes_nothing_and_the_next_does(tmp_path: Path) -> None:
    router = memory_router(tmp_path, failApplies=[1])
    with pytest.raises(ProviderError) as caught:
        router.apply(TABLE, {})
    assert caught.value.is_retryable
    assert router.served == RouteTable()
    router.apply(TABLE, {})
    assert router.served == TABLE


def test_a_lost_reply_leaves_the_table_written(tmp_path: Path) -> None:
    router = memory_router(tmp_path, loseReplies=[1])
    with pytest.raises(CtrlplaneError):
        router.apply(TABLE, {})
    assert router.served == TABLE
    router.apply(TABLE, {})
    assert router.applies == 1


def test_a_table_is_live_only_after_so_many_looks(tmp_path: Path) -> None:
    router = memory_router(tmp_path)
    router.apply(TABLE, {})
    router.faults.live_after = 3
    generation = router.apply(OTHER, {})
    looks = [router.wait_live(generation, MOMENT).is_live for _ in range(3)]
    assert looks == [False, False, True]
    assert router.observe().table == OTHER


def test_until_it_is_live_the_table_before_is_served(tmp_path: Path) -> None:
    router = memory_router(tmp_path)
    router.apply(TABLE, {})
    router.faults.is_never_live = True
    generation = router.apply(OTHER, {})
    for _ in range(5):
        assert not router.wait_live(generation, MOMENT).is_live
    state = router.observe()
    assert (state.table, state.generation, state.is_live) == (TABLE, generation, False)
    assert router.served == TABLE


def test_a_gap_is_neither_empty_nor_writable(tmp_path: Path) -> None:
    router = memory_router(tmp_path)
    router.apply(TABLE, {})
    router.faults.gap = "cable cut"
    assert router.observe().gap == "cable cut"
    with pytest.raises(CtrlplaneError, match="cable cut"):
        router.apply(OTHER, {})
    router.faults.gap = None
    assert router.served == TABLE


def test_requests_in_flight_are_those_of_the_members_asked_for(tmp_path: Path) -> None:
    router = memory_router(tmp_path, inFlight={A.replica: 2, C.replica: 5})
    assert router.count_in_flight([A, B]) == 2
    without = memory_router(tmp_path, capabilities=["hitless"], inFlight={A.replica: 2})
    assert without.count_in_flight([A, B]) is None


def test_counts_are_told_only_with_the_capability(tmp_path: Path) -> None:
    router = memory_router(tmp_path)
    key = TABLE.entries[0].key
    router.faults.counts[(key, 1)] = TrafficCount(10, 1, 0.5)
    assert router.count_traffic()[(key, 1)].errors == 1
    router.capabilities -= {RouterCapability.COUNTS}
    with pytest.raises(CapabilityError, match="counts"):
        router.count_traffic()


def test_processes_share_a_router_by_its_file(tmp_path: Path) -> None:
    memory_router(tmp_path, path="router.json").apply(TABLE, {})
    assert memory_router(tmp_path, path="router.json").served == TABLE
    assert memory_router(tmp_path, path="another.json").served == RouteTable()


@pytest.mark.parametrize(
    ("options", "text"),
    [({"neverlive": True}, "neverlive"), ({"capabilities": ["speed"]}, "speed")],
)
def test_an_option_it_does_not_have_is_refused(
    tmp_path: Path, options: dict[str, object], text: str
) -> None:
    with pytest.raises(UsageError, match=text):
        memory_router(tmp_path, **options)
