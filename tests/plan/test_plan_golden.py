"""What people and tools read, word for word. ``--update-golden`` writes the files anew."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from plan_kit import MIB, App, Way, World, applied, make_desired

from ctrlplane_gitops.diagnostics import Origin, error
from ctrlplane_gitops.plan.as_json import render_json
from ctrlplane_gitops.plan.change import Plan
from ctrlplane_gitops.plan.markdown import render_markdown
from ctrlplane_gitops.plan.planfile import dump_plan
from ctrlplane_gitops.plan.render import render_plan
from ctrlplane_gitops.rollout.preview import RolloutPreview
from ctrlplane_gitops.state.desired import RolloutParams, StrategyType
from ctrlplane_gitops.state.observed import Gap

TEXT = "1 new at a time; at most 4 replicas, never fewer than 3 ready; rolls back by itself"
Check = Callable[[str, str], None]


def steady(plan: Plan) -> Plan:
    """With a rollout line of our own: its wording is tested where it is made."""
    preview = RolloutPreview(
        steps=(), most_replicas=4, fewest_ready=3, has_downtime=False, text=TEXT
    )
    changes = tuple(
        replace(item, rollout=preview) if item.rollout else item for item in plan.changes
    )
    return replace(plan, changes=changes)


def first() -> Plan:
    app = App(env={"LOG_LEVEL": "info"}, memory=256 * MIB, secret="one")
    return World().plan(make_desired({"acme/web": app}))


def update() -> Plan:
    world = applied({"acme/web": App(env={"LOG_LEVEL": "info"}, secret="one"), "zen/web": App()})
    world.kill("zen/web", 2)
    app = App(image="shop:1.4.2", env={"LOG_LEVEL": "debug", "NEW": "1"}, secret="two")
    return world.plan(make_desired({"acme/web": app, "zen/web": App()}))


def nothing() -> Plan:
    return applied({"acme/web": App()}).plan(make_desired({"acme/web": App()}))


def delete() -> Plan:
    world = applied({"acme/web": App(), "zen/web": App(), "kim/web": App(is_protected=True)})
    return world.plan(make_desired({"zen/web": App()}), is_dirty=True)


def refused() -> Plan:
    return applied({"acme/web": App()}).plan(make_desired({}), is_dirty=None)


def adopted() -> Plan:
    world = applied({"acme/web": App(), "acme/old": App()})
    return World(sets=world.sets).plan(make_desired({"acme/web": App()}))


def broken() -> Plan:
    world = applied({"acme/web": App(), "zen/web": App(), "kim/web": App(provider="docker")})
    world.gaps = (Gap("docker", "connection refused"),)
    world.fail(make_desired({"acme/web": App(image="bad")}), "acme/web", "exited 1 \x1b[2J")
    apps = {"acme/web": App(image="bad"), "kim/web": App(image="shop:2", provider="docker")}
    desired = make_desired(apps, frozen={"zen": "an error in tenants/zen.yaml"})
    found = error(
        "unknown-key",
        "unknown key 'replcias'",
        origin=Origin("tenants/zen.yaml", 3, 5),
        hint="did you mean 'replicas'?",
        tenant="zen",
    )
    return world.plan(desired, diagnostics=(found,))


def canary() -> Plan:
    params = RolloutParams(StrategyType.CANARY)
    shop = App(routes=(Way(more={"canary_header": ("X-Canary", "1")}),), params=params)
    desired = make_desired({"acme/web": replace(shop, image="shop:1.4.2")})
    return applied({"acme/web": shop}).plan(desired)


def traffic() -> Plan:
    """Somebody took a replica out of one route, and another route altogether."""
    apps = {"acme/web": App(routes=(Way("api"), Way())), "zen/web": App(routes=(Way(),))}
    world = applied(apps)
    api, _, zen = world.served_entries
    (only,) = zen.backends
    world.serve(api, replace(zen, backends=(replace(only, members=only.members[1:]),)))
    return world.plan(make_desired(apps))


def autoscaled() -> Plan:
    """An autoscaler has made five of two, and Git has a new image."""
    shop = App(replicas=2, is_autoscaled=True)
    apps = {"acme/web": shop, "zen/web": shop}
    world = applied(apps)
    for place, item in world.sets.items():
        more = tuple(replace(item.replicas[0], index=index) for index in range(5))
        by = "kube-controller-manager" if place[0].tenant == "acme" else ""
        world.sets[place] = replace(item, replicas=more, scale=5, scaled_by=by)
    return world.plan(make_desired({**apps, "acme/web": replace(shop, image="shop:1.4.2")}))


CASES = (first, update, nothing, delete, refused, adopted, broken)
MORE = (canary, traffic, autoscaled)


@pytest.mark.parametrize("case", MORE, ids=lambda case: case.__name__)
def test_what_few_plans_have_reads_well(case: Callable[[], Plan], check_golden: Check) -> None:
    plan = case()
    check_golden(f"{case.__name__}.txt", render_plan(plan, duration_s=0.2))
    check_golden(f"{case.__name__}.md", render_markdown(plan, duration_s=0.2))
    check_golden(f"{case.__name__}.json", render_json(plan))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_a_plan_reads_as_text(case: Callable[[], Plan], check_golden: Check) -> None:
    check_golden(f"{case.__name__}.txt", render_plan(steady(case()), duration_s=0.2))


@pytest.mark.parametrize("case", (update, refused, broken), ids=lambda case: case.__name__)
def test_a_plan_reads_as_a_comment(case: Callable[[], Plan], check_golden: Check) -> None:
    check_golden(f"{case.__name__}.md", render_markdown(steady(case()), duration_s=0.2))


@pytest.mark.parametrize("case", (update, broken), ids=lambda case: case.__name__)
def test_a_plan_reads_as_json(case: Callable[[], Plan], check_golden: Check) -> None:
    check_golden(f"{case.__name__}.json", render_json(steady(case())))


def test_json_has_the_shape_policy_tools_expect() -> None:
    raw = json.loads(render_json(update()))
    actions = {item["address"]: item["change"]["actions"] for item in raw["resource_changes"]}
    assert actions["deployment/acme/web"] == ["update"]
    row = next(i for i in raw["resource_changes"] if i["address"] == "deployment/acme/web")
    assert row["change"]["before"]["image"] == "shop:1.4.1"
    assert row["change"]["after"]["image"] == "shop:1.4.2"
    assert raw["summary"]["change"] == 4 and raw["format_version"]


def test_color_is_only_there_when_asked_for() -> None:
    assert "\x1b" not in render_plan(broken())
    assert "\x1b[32m" in render_plan(first(), is_color=True)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_no_digest_of_a_secret_shows(case: Callable[[], Plan]) -> None:
    plan = case()
    digests = [item["valueDigest"] for item in _secrets(plan)]
    for text in (render_plan(plan), render_markdown(plan), render_json(plan), dump_plan(plan, {})):
        assert not [item for item in digests if item in text]


def _secrets(plan: Plan) -> list[dict[str, str]]:
    found = [json.loads(item.attributes_json) for item in plan.records.resources]
    return [item for item in found if "valueDigest" in item]


def test_a_comment_always_fits_and_its_fence_cannot_be_closed_from_inside() -> None:
    apps = {f"t{index}/web": App(env={"X": "```\n" + "y" * 200}) for index in range(300)}
    text = render_markdown(World().plan(make_desired(apps)))
    assert len(text) < 65_536 and "````diff" in text
