"""A provider's name keeps its type as long as something runs there."""

from dataclasses import replace

from plan_kit import App, World, applied, make_desired

from ctrlplane_gitops.plan.change import Policy
from ctrlplane_gitops.state.desired import DesiredState, ProviderConfig

APPS = {"acme/web": App()}


def with_type(desired: DesiredState, alias: str, type: str) -> DesiredState:
    providers = {**desired.plane.providers, alias: ProviderConfig(alias, type)}
    return replace(desired, plane=replace(desired.plane, providers=providers))


def test_a_provider_whose_type_changed_under_running_instances_is_refused() -> None:
    plan = applied(APPS).plan(with_type(make_desired(APPS), "local", "process"))
    (refusal,) = plan.refusals
    assert refusal.code == "provider-changed"
    assert refusal.reason == (
        "provider local was of type memory and is process now, and 1 instance runs there"
    )


def test_destroying_is_refused_as_well_because_nothing_would_be_found() -> None:
    plan = applied(APPS).plan(
        with_type(make_desired(APPS), "local", "process"), Policy(is_destroy=True)
    )
    assert [item.code for item in plan.refusals] == ["provider-changed"]


def test_a_provider_nothing_runs_on_may_change_its_type() -> None:
    world = applied(APPS)
    wanted = with_type(make_desired(APPS), "docker", "process")
    plan = world.apply(wanted)
    assert not plan.refusals and plan.is_empty and len(plan.records.resources) == 1
    assert world.plan(wanted).records.resources == ()


def test_the_types_are_no_row_of_the_plan() -> None:
    plan = World().plan(make_desired({}))
    assert plan.is_empty and plan.changes == ()
