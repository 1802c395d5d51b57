"""The read model: everything that is shown, and nothing of those who may not be seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ctrlplane_gitops.errors import SourceError, UsageError
from ctrlplane_gitops.state.recorded import (
    RecordBatch,
    RecordedInstance,
    RolloutPhase,
    RolloutStatus,
)
from ctrlplane_gitops.status.board import Where
from ctrlplane_gitops.status.history import LogWhere
from ctrlplane_gitops.status.paging import Listing, Page
from ctrlplane_gitops.status.row import Share, StepRow, Use
from ctrlplane_gitops.status.shown import as_json
from ctrlplane_gitops.value import replace
from tests.status.board_kit import DB, NOW, OTHER, WEB, Seen

ACME = frozenset({"acme"})


@pytest.fixture
def seen() -> Seen:
    return Seen()


def walk(read: Callable[[Page], Listing[Any]], limit: int = 1) -> list[Any]:
    """Every row, page by page."""
    found: list[Any] = []
    page = Page(limit)
    while True:
        listing = read(page)
        assert len(listing.items) <= limit
        found.extend(listing.items)
        if listing.next is None:
            return found
        page = Page(limit, listing.next)


NOUNS = {
    "tenants": ["tenant acme", "tenant beta"],
    "instances": [DB.address, WEB.address, OTHER.address],
    "deployments": ["deployment/acme/db", "deployment/acme/web", "deployment/beta/web"],
    "routes": ["route/acme/db", "route/acme/web", "route/beta/web"],
    "secrets": ["secret/acme/url", "secret/beta/url"],
    "releases": [f"{key.address} v{n}" for key in (DB, WEB, OTHER) for n in (2, 1)],
}


def name(row: Any) -> str:
    if hasattr(row, "release") and hasattr(row, "is_pinned"):
        return f"{row.address} v{row.release}"
    return getattr(row, "address", "") or f"tenant {row.name}"


@pytest.mark.parametrize("noun", NOUNS)
def test_a_list_has_everything_once_in_order_however_it_is_cut(seen: Seen, noun: str) -> None:
    read = getattr(seen.board, f"list_{noun}")
    for limit in (1, 2, 100):
        rows = walk(lambda page: read(Where(), page), limit)
        assert [name(row) for row in rows] == NOUNS[noun]


@pytest.mark.parametrize("noun", NOUNS)
def test_who_sees_one_tenant_sees_nothing_of_another(seen: Seen, noun: str) -> None:
    read = getattr(seen.board, f"list_{noun}")
    mine = [item for item in NOUNS[noun] if "acme" in item]
    assert [name(row) for row in walk(lambda page: read(Where(ACME), page))] == mine
    assert not read(Where(ACME, tenant="beta")).items
    assert not read(Where(frozenset())).items


def test_an_instance_s_row_says_what_was_seen_last_and_when(seen: Seen) -> None:
    seen.live = seen.look(web=1)
    rows = {row.address: row for row in seen.board.list_instances(Where()).items}
    row = rows[WEB.address]
    assert (row.phase, row.replicas.ready, row.replicas.desired) == ("degraded", 1, 2)
    assert (row.observed_at, row.labels, row.provider) == (NOW, {"tier": "web"}, "local")
    assert row.traffic == (Share(1, 90), Share(2, 10))
    assert rows[DB.address].phase == "running"


def test_before_anybody_has_looked_an_instance_is_unknown_and_listed(seen: Seen) -> None:
    seen.live = None
    for row in seen.board.list_instances(Where()).items:
        assert (row.phase, row.observed_at, row.replicas.desired) == ("unknown", None, 2)
    assert seen.board.list_instances(Where(phase="unknown", provider="local")).items


@pytest.mark.parametrize(
    ("where", "found"),
    [
        (Where(tenant="acme"), [DB, WEB]),
        (Where(phase="degraded"), [WEB, OTHER]),
        (Where(phase="nonsense"), []),
        (Where(provider="elsewhere"), []),
        (Where(label="tier=web"), [WEB, OTHER]),
        (Where(label="tier=web", tenant="beta"), [OTHER]),
        (Where(label="tier,ring"), []),
    ],
)
def test_instances_are_narrowed(seen: Seen, where: Where, found: list[Any]) -> None:
    seen.live = seen.look(web=1)
    rows = walk(lambda page: seen.board.list_instances(where, page))
    assert [row.address for row in rows] == [key.address for key in found]


def test_a_tenant_s_use_stands_beside_its_quota(seen: Seen) -> None:
    tenant = seen.board.get_tenant("acme")
    assert tenant is not None
    quota = tenant.quota
    assert (quota.instances, quota.cpu_millicores) == (Use(2, 5), Use(2000, 4000))
    assert quota.memory_bytes == Use(4 * 128 * 2**20, 2**30)
    assert (quota.disk_bytes, quota.domains) == (Use(2 * 2**30, None), Use(2, None))
    assert (quota.secrets, tenant.phases) == (Use(1, None), {"running": 2})
    assert tenant.display_name == "The acme"
    assert seen.board.list_tenants(Where(label="ring=early")).items == (tenant,)


def test_a_frozen_tenant_says_why(seen: Seen) -> None:
    assert seen.desired is not None
    seen.desired = replace(seen.desired, frozen={"beta": "beta.yaml:3: what?"})
    found = seen.board.get_tenant("beta")
    assert found is not None and found.frozen == "beta.yaml:3: what?"


def test_one_instance_shows_all_there_is_of_it(seen: Seen) -> None:
    found = seen.board.get_instance("acme", "web")
    assert found is not None
    assert found.spec["replicas"] == 2
    assert found.deployment is not None and found.deployment["image"] == "shop:2"
    assert found.origin.startswith("acme.yaml")
    assert [item.release for item in found.releases] == [2, 1]
    assert [item.is_active for item in found.releases] == [True, False]
    [replica_set] = found.replica_sets
    assert (replica_set.release, replica_set.percent) == (2, 10)
    assert [item.is_ready for item in replica_set.replicas] == [True, True]
    assert [item.hosts for item in found.routes] == [("web.acme.example",)]
    assert found.rollout.steps == (StepRow(10, 120.0), StepRow(50, None))
    assert seen.board.get_instance("acme", "nobody") is None


def test_a_rollout_is_told_as_it_is_recorded_now(seen: Seen) -> None:
    status = RolloutStatus(RolloutPhase.PROGRESSING, 3, 2, NOW, step=1, message="waits for promote")
    known = RecordedInstance(WEB, "local", 2, pin=2, rollout=status)
    seen.store.record(RecordBatch(instances=(known,)), seen.fence)
    rollout = seen.board.get_rollout("acme", "web")
    assert rollout is not None
    assert (rollout.phase, rollout.target, rollout.step) == ("progressing", 3, 1)
    assert rollout.waits_for == "waits for promote"
    release = seen.board.get_release("acme", "web", 2)
    assert release is not None and release.is_pinned
    assert seen.board.get_rollout("acme", "nobody") is None


def test_a_secret_shows_where_it_comes_from_and_goes_to_alone(seen: Seen) -> None:
    found = seen.board.get_secret("acme", "url")
    assert found is not None
    assert (found.type, found.target, found.source) == ("env", "DATABASE_URL", "env:acme_URL")
    assert found.instances == ("db", "web")
    assert not {"d", "valueDigest"} & set(as_json(found))


def test_logs_are_newest_first_and_those_of_a_tenant_alone(seen: Seen) -> None:
    events = walk(lambda page: seen.board.list_events(LogWhere(), page))
    assert [item.address for item in events] == ["", OTHER.address, WEB.address, DB.address]
    mine = walk(lambda page: seen.board.list_events(LogWhere(ACME), page))
    assert [item.address for item in mine] == [WEB.address, DB.address]
    both = frozenset({"beta", "acme"})
    everybody = walk(lambda page: seen.board.list_events(LogWhere(both), page))
    assert everybody == events[1:]
    assert not seen.board.list_events(LogWhere(ACME, tenant="beta")).items
    audit = walk(lambda page: seen.board.list_audit(LogWhere(ACME), page))
    assert [item.address for item in audit] == [WEB.address, DB.address]
    assert not seen.board.list_audit(LogWhere(actor="user:other")).items


def test_who_follows_gets_what_was_written_after(seen: Seen) -> None:
    last = seen.board.last_event()
    assert seen.board.read_events_after(LogWhere(), last) == ()
    found = seen.board.read_events_after(LogWhere(ACME), 0)
    assert [item.address for item in found] == [DB.address, WEB.address]


def test_a_cursor_that_is_none_of_the_list_is_refused(seen: Seen) -> None:
    for cursor in ("x", "[]", "WyJhIl0", "é", "W10=", "null", "9" * 30):
        for read in (seen.board.list_instances, seen.board.list_routes, seen.board.list_releases):
            with pytest.raises(UsageError, match="cursor"):
                read(Where(), Page(cursor=cursor))
    with pytest.raises(UsageError, match="cursor"):
        seen.board.list_events(LogWhere(), Page(cursor="x"))


def test_the_plan_shows_rows_of_those_who_may_be_seen_alone(seen: Seen) -> None:
    assert seen.board.get_plan(None) is None
    seen.plan_updates(WEB, OTHER)
    whole, mine = seen.board.get_plan(None), seen.board.get_plan(ACME)
    assert whole is not None and mine is not None
    assert [item["tenant"] for item in whole.plan["resource_changes"]] == ["acme", "beta"]
    assert [item["tenant"] for item in mine.plan["resource_changes"]] == ["acme"]
    assert (whole.plan["summary"]["unchanged"], whole.outcome) == (4, None)
    assert "unchanged" not in mine.plan["summary"]


def test_a_pass_about_some_tenants_leaves_what_was_planned_for_the_others(seen: Seen) -> None:
    seen.plan_updates(WEB, OTHER)
    seen.plans.end("partial")
    seen.plan_updates(DB, tenants=ACME)
    found = seen.board.get_plan(None)
    assert found is not None
    addresses = [item["address"] for item in found.plan["resource_changes"]]
    assert addresses == [DB.address, OTHER.address]
    assert found.outcome is None


def test_what_is_not_known_yet_is_said_and_not_shown_as_nothing(seen: Seen) -> None:
    seen.desired = None
    with pytest.raises(SourceError, match="not been read yet"):
        seen.board.list_instances(Where())
