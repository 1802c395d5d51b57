"""Instances that whoever makes the plan leaves alone for now, and drift that is only shown."""

from dataclasses import replace

from ctrlplane_gitops.plan.change import Blocked
from ctrlplane_gitops.state.key import instance_key
from tests.plan.plan_kit import POLICY, App, applied, make_desired

WEB = instance_key("acme", "web")
OBSERVED = Blocked("observed", "drift is only reported here", "set drift: enforce")
QUIET = replace(POLICY, drift_holds={WEB: OBSERVED})
BACK_OFF = replace(POLICY, holds={WEB: Blocked("backoff", "it has failed twice", "wait")})
APPS = {"acme/web": App(), "zen/web": App()}
SHOP = make_desired(APPS)


def test_observed_drift_is_shown_and_nothing_is_done_about_it() -> None:
    world = applied(APPS)
    for key in ("acme/web", "zen/web"):
        world.kill(key, 1)
    plan = world.plan(SHOP, QUIET)
    assert [(item.key.tenant, item.is_corrected) for item in plan.drift] == [
        ("acme", False), ("zen", True),
    ]  # fmt: skip
    assert [work.instance.tenant for work in plan.works] == ["zen"]
    [row] = plan.blocked
    assert (row.key, row.blocked) == (WEB, OBSERVED)


def test_a_commit_is_applied_where_drift_is_observed() -> None:
    world = applied(APPS)
    world.kill("acme/web", 1)
    newer = make_desired({"acme/web": App("shop:2"), "zen/web": App()})
    assert [work.instance for work in world.plan(newer, QUIET).works] == [WEB]


def test_nothing_is_off_and_nothing_is_said() -> None:
    world = applied(APPS)
    plan = world.plan(SHOP, replace(QUIET, holds=BACK_OFF.holds))
    assert plan.is_empty and not plan.blocked and not plan.drift


def test_what_is_held_is_neither_rolled_out_nor_repaired() -> None:
    world = applied(APPS)
    newer = make_desired({"acme/web": App("shop:2"), "zen/web": App("shop:2")})
    plan = world.plan(newer, BACK_OFF)
    assert [work.instance.tenant for work in plan.works] == ["zen"]
    assert {item.blocked.code for item in plan.blocked if item.blocked} == {"backoff"}
    world.kill("acme/web", 1)
    assert not [work for work in world.plan(SHOP, BACK_OFF).works if work.instance == WEB]
