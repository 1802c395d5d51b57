"""A saved plan is done exactly or not at all."""

import pytest
from plan_kit import App, applied, make_desired

from ctrlplane_gitops.errors import UsageError
from ctrlplane_gitops.plan.change import Policy
from ctrlplane_gitops.plan.planfile import compare, dump_plan, load_plan

APPS = {"acme/web": App(), "zen/web": App()}
WANTED = make_desired({"acme/web": App(image="shop:2"), "zen/web": App()})


def test_a_plan_comes_back_with_its_options_and_summary() -> None:
    plan = applied(APPS).plan(WANTED)
    saved = load_plan(dump_plan(plan, {"targets": ["*"]}))
    assert saved.header == plan.header and saved.options == {"targets": ["*"]}
    assert saved.summary == {"add": 0, "change": 1, "destroy": 0}
    assert set(saved.changes) == {"deployment/acme/web"}
    assert compare(saved, plan) == ()


def test_another_commit_with_the_same_changes_is_not_stale() -> None:
    world = applied(APPS)
    saved = load_plan(dump_plan(world.plan(WANTED), {}))
    assert compare(saved, world.plan(WANTED, commit="f" * 40)) == ()


def test_a_replica_that_died_since_is_named() -> None:
    world = applied(APPS)
    saved = load_plan(dump_plan(world.plan(WANTED), {}))
    world.kill("acme/web", 0)
    world.kill("zen/web", 0)
    assert compare(saved, world.plan(WANTED)) == (
        "deployment/acme/web: what it was decided from changed",
        "instance/zen/web: update is new",
    )


def test_an_edit_since_is_named() -> None:
    world = applied(APPS)
    saved = load_plan(dump_plan(world.plan(WANTED), {}))
    other = make_desired({"acme/web": App(image="shop:3"), "zen/web": App()})
    assert compare(saved, world.plan(other))
    assert compare(saved, world.plan(make_desired(APPS))) == (
        "deployment/acme/web: update is no longer needed",
    )


def test_a_plan_of_a_destroy_is_not_one_of_an_apply() -> None:
    world = applied({})
    saved = load_plan(dump_plan(world.plan(make_desired({})), {}))
    plan = world.plan(make_desired({}), Policy(is_destroy=True), is_destroy=True)
    assert compare(saved, plan) == ("one plan destroys and the other does not",)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "[" * 100_000,
        '{"format": "ctrlplane-gitops/plan", "version": 2}',
        '{"format": "ctrlplane-gitops/plan", "version": 1}',
        '{"format": "ctrlplane-gitops/plan", "version": 1, "header": 3}',
    ],
)
def test_what_is_not_a_plan_file_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError):
        load_plan(text)
