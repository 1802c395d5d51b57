"""What ``events`` and ``history --audit`` can be asked for."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from ctrlplane_gitops.clock import SystemClock, rfc3339
from tests.cli.folder import WEB, Folder, web


@pytest.fixture
def two(folder: Folder) -> Folder:
    """Two tenants, applied."""
    folder.write(web() + web(name="beta"))
    folder.ok("apply", "-y")
    return folder


def addresses(folder: Folder, *arguments: str, key: str = "events") -> list[str]:
    found = json.loads(folder.ok(*arguments, "--json"))[key]
    return [item["address"] for item in found]


def test_events_are_those_of_a_tenant_an_address_or_all_below_one(two: Folder) -> None:
    everything = addresses(two, "events")
    of_beta = [item for item in everything if "/beta" in item]
    assert of_beta and of_beta == addresses(two, "events", "--tenant", "beta")
    assert set(addresses(two, "events", WEB)) == {WEB}
    for below in ("instance/acme/", "instance/acme/*", "instance/acme/w*"):
        assert addresses(two, "events", below) == addresses(two, "events", WEB)
    assert set(everything) == {WEB, "instance/beta/web", "controlplane/crash"}
    assert addresses(two, "events", "--limit", "2") == everything[-2:]


def test_events_are_filtered_by_type_with_or_without_a_star(two: Folder) -> None:
    found = addresses(two, "events", "--type", "rollout.completed")
    assert sorted(found) == [WEB, "instance/beta/web"]
    assert addresses(two, "events", "--type", "rollout.completed*") == found


def test_both_logs_are_filtered_by_time(two: Folder) -> None:
    everything = addresses(two, "events")
    now = SystemClock().now()
    ahead = rfc3339(now + timedelta(hours=1))
    assert addresses(two, "events", "--since", "1h") == everything
    assert addresses(two, "events", "--since", "365d", "--until", ahead) == everything
    assert addresses(two, "events", "--since", ahead) == []
    assert addresses(two, "events", "--until", "1h") == []
    assert addresses(two, "history", "--audit", "--since", ahead, key="audit") == []


def test_the_audit_is_filtered_by_who_what_and_what_came_of_it(two: Folder) -> None:
    def audit(*arguments: str) -> list[str]:
        return addresses(two, "history", "--audit", *arguments, key="audit")

    everything = audit()
    assert len(everything) == 6
    assert audit("--by", "tester") == audit("--by", "user:tester") == everything
    assert audit("--by", "system:tester") == audit("--by", "somebody") == []
    assert audit("--action", "create", "--outcome", "do") == everything
    assert audit("--action", "update") == audit("--outcome", "failed") == []
    assert [item for item in everything if "/beta" in item] == audit("--tenant", "beta")
    assert audit("tenant/beta") == ["tenant/beta"]


@pytest.mark.parametrize("when", ["yesterday", "12", "2026-01-01T00:00:00", "9999999999d", "d", ""])
def test_what_is_no_time_is_wrong_usage(folder: Folder, when: str) -> None:
    assert folder.run("events", "--since", when) == 64
    assert folder.errors.startswith("error: --since: ")


def test_releases_cannot_be_asked_for_what_only_the_audit_knows(applied: Folder) -> None:
    assert applied.run("history", WEB, "--by", "ann") == 64
    assert applied.errors.splitlines()[0] == "error: --by is about the audit"
