"""A rollout's surge must fit into the tenant's quota."""

from dataclasses import replace
from typing import Any

from plan_kit import MIB, App, World, applied, make_desired, resource, rows

from ctrlplane_gitops.plan.change import Plan
from ctrlplane_gitops.state.desired import Allowance, DesiredState, RolloutParams, StrategyType
from ctrlplane_gitops.state.key import instance_key, tenant_key
from ctrlplane_gitops.state.observed import HeldQuota
from ctrlplane_gitops.units import CountOrPercent

OLD = App(replicas=2, memory=100 * MIB)
NEW = App(replicas=2, memory=100 * MIB, image="shop:2")


def with_quota(desired: DesiredState, tenant: str = "acme", **quota: Any) -> DesiredState:
    key = tenant_key(tenant)
    limited = resource(key, {"suspended": False, "quota": quota})
    return replace(desired, resources={**desired.resources, key: limited})


def world(apps: dict[str, App], **quota: Any) -> World:
    made = applied(apps)
    made.apply(with_quota(make_desired(apps), **quota))
    return made


def test_a_surge_over_the_quota_is_blocked_and_says_what_would_allow_it() -> None:
    apps = {"acme/web": OLD, "zen/web": OLD}
    made = world(apps, memory="200Mi")
    new = {"acme/web": NEW, "zen/web": NEW}
    plan = made.plan(with_quota(make_desired(new), memory="200Mi"))
    assert rows(plan) == {"deployment/acme/web": "blocked:quota", "deployment/zen/web": "update"}
    assert [work.instance.tenant for work in plan.works] == ["zen"]
    (change,) = plan.blocked
    assert change.blocked is not None
    assert change.blocked.reason == (
        "during its rollout tenant acme would use 300Mi memory of 200Mi"
    )
    assert "maxSurge" in change.blocked.hint


def test_of_an_autoscaled_instance_those_count_that_there_are() -> None:
    scaled = replace(OLD, is_autoscaled=True)
    made = world({"acme/web": scaled}, memory="500Mi")
    new = with_quota(make_desired({"acme/web": replace(NEW, is_autoscaled=True)}), memory="500Mi")
    assert not made.plan(new).blocked
    for place, item in made.sets.items():
        made.sets[place] = replace(item, replicas=item.replicas * 2, scale=4, scaled_by="hpa")
    assert not made.plan(new).blocked
    for place, item in made.sets.items():
        made.sets[place] = replace(item, replicas=item.replicas + item.replicas[:1], scale=5)
    [change] = made.plan(new).blocked
    assert change.blocked is not None and "would use 700Mi memory" in change.blocked.reason


def test_a_quota_that_a_provider_holds_is_as_the_tenants_or_it_is_put_right() -> None:
    allowed = Allowance(memory_bytes=500 * MIB)
    made = world({"acme/web": OLD}, memory="500Mi")
    desired = with_quota(make_desired({"acme/web": OLD}), memory="500Mi")
    [instance] = desired.instances.values()
    desired = replace(desired, instances={instance.key: replace(instance, allowance=allowed)})

    def hold(held: HeldQuota | None) -> Plan:
        for place, item in made.sets.items():
            made.sets[place] = replace(item, quota=held)
        return made.plan(desired)

    # Somebody who holds nobody to anything, as asked, and no longer asked.
    for held in (None, HeldQuota(allowed, True), HeldQuota(Allowance(), False)):
        assert hold(held).is_empty
    wrong = {
        "none": HeldQuota(Allowance(), True),
        "memory 1Gi": HeldQuota(Allowance(memory_bytes=1024 * MIB), True),
        "memory 500Mi (by kubectl-edit)": HeldQuota(allowed, True, "kubectl-edit"),
    }
    for text, held in wrong.items():
        plan = hold(held)
        [drift] = plan.drift
        assert drift.text == f"the quota its tenant is held to: memory 500Mi -> {text}"
        assert len(plan.works) == 1
    [drift] = hold(HeldQuota(allowed, False)).drift
    assert drift.text == "the quota its tenant is held to: none -> memory 500Mi"


def test_a_rollout_without_a_surge_fits_into_a_full_quota() -> None:
    params = RolloutParams(max_surge=CountOrPercent(0), max_unavailable=CountOrPercent(1))
    made = world({"acme/web": OLD}, memory="200Mi")
    for wanted in (params, RolloutParams(type=StrategyType.RECREATE)):
        new = with_quota(make_desired({"acme/web": replace(NEW, params=wanted)}), memory="200Mi")
        plan = made.plan(new)
        assert not plan.blocked and len(plan.works) == 1


def test_rollouts_that_do_not_fit_side_by_side_take_turns() -> None:
    names = [f"acme/{name}" for name in "abc"]
    made = world(dict.fromkeys(names, OLD), memory="800Mi")
    plan = made.plan(with_quota(make_desired(dict.fromkeys(names, NEW)), memory="800Mi"))
    a, b, c = (instance_key("acme", name) for name in "abc")
    assert not plan.blocked and len(plan.works) == 3
    # 600Mi run; two surges of 100Mi fit, the third waits for both.
    assert plan.turns == {c: (a, b)}


def test_the_first_release_and_a_repair_need_nothing_on_top() -> None:
    desired = with_quota(make_desired({"acme/web": OLD}), memory="200Mi")
    assert not World().plan(desired).blocked
    made = world({"acme/web": OLD}, memory="200Mi")
    made.kill("acme/web", 0)
    plan = made.plan(desired)
    assert not plan.blocked and len(plan.works) == 1
