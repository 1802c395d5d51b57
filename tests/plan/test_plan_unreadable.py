"""A replica that nobody lived to write down has no revision that anybody could read."""

from dataclasses import replace

from plan_kit import App, applied, make_desired

from ctrlplane_gitops.state.key import instance_key
from ctrlplane_gitops.state.recorded import RolloutPhase, RolloutStatus

WEB = instance_key("acme", "web")


def test_its_release_goes_on_under_the_number_it_has() -> None:
    """What was asked of that rollout, an abort say, would be asked of nobody under another one."""
    world, desired = applied({"acme/web": App()}), make_desired({"acme/web": App(image="shop:2")})
    world.apply(desired)
    status = RolloutStatus(RolloutPhase.PROGRESSING, 2, 1)
    world.instances[WEB] = replace(world.instances[WEB], release=1, rollout=status)
    world.change_set("acme/web", revision="")
    (work,) = world.plan(desired).works
    assert work.release is not None and work.release.number == 2 and not work.is_new_release
