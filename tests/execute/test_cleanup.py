"""What frames the instances' works: removed tenants, the apply as an event, the audit."""

from __future__ import annotations

import threading

from ctrlplane_gitops.errors import ProviderError
from ctrlplane_gitops.plan.change import Policy
from ctrlplane_gitops.state.action import Action, Outcome, RemoveInstance, RemoveTenant
from ctrlplane_gitops.state.desired import DesiredState
from ctrlplane_gitops.state.key import instance_key, tenant_key
from tests.execute.execute_kit import Scene, states
from tests.plan.plan_kit import App, make_desired

BOTH = make_desired({"acme/web": App(replicas=1), "zen/web": App(replicas=1)})
ONLY = make_desired({"acme/web": App(replicas=1)})
REMOVING = Policy(max_delete=10)
ZEN = tenant_key("zen")


def removals(scene: Scene) -> dict[str, list[str]]:
    """The tenants each provider was asked to remove."""
    return {
        name: [item.tenant.name for item in provider.performed if isinstance(item, RemoveTenant)]
        for name, provider in scene.providers.items()
    }


def test_a_tenant_is_removed_everywhere_after_its_instances_and_then_forgotten(
    scene: Scene,
) -> None:
    scene.run(BOTH)
    scene.local.performed.clear()
    recorded = []
    scene.local.before = lambda action: recorded.append(ZEN in scene.store.load_state().resources)
    assert states(scene.run(ONLY, REMOVING)) == {"zen/web": "done"}
    assert [type(item) for item in scene.local.performed] == [RemoveInstance, RemoveTenant]
    assert removals(scene) == {"docker": ["zen"], "local": ["zen"]}
    assert recorded == [True, True]
    state = scene.store.load_state()
    left = {key.tenant for key in (*state.resources, *state.instances, *state.releases)}
    assert left == {"", "acme"}
    assert scene.replicas() == {"acme/web v1": 1}


def test_a_tenant_whose_instance_could_not_be_removed_is_kept(scene: Scene) -> None:
    scene.run(BOTH)

    def fail(action: Action) -> Outcome | None:
        is_removal = isinstance(action, RemoveInstance)
        return Outcome(action, ProviderError("device is busy")) if is_removal else None

    scene.local.before = fail
    assert states(scene.run(ONLY, REMOVING)) == {"zen/web": "failed"}
    assert removals(scene) == {"docker": [], "local": []}
    state = scene.store.load_state()
    assert {ZEN, instance_key("zen", "web")} <= state.resources.keys()
    scene.local.before = lambda action: None
    assert states(scene.run(ONLY, REMOVING)) == {"zen/web": "done"}
    assert ZEN not in scene.store.load_state().resources


def test_a_tenant_that_a_provider_could_not_remove_is_an_error_and_tried_again(
    scene: Scene,
) -> None:
    scene.run(BOTH)

    def fail(action: Action) -> Outcome | None:
        return (
            Outcome(action, ProviderError("in use")) if isinstance(action, RemoveTenant) else None
        )

    scene.providers["docker"].before = fail
    result = scene.run(ONLY, REMOVING)
    assert [str(item) for item in result.errors] == ["in use"]
    assert ZEN in scene.store.load_state().resources
    scene.providers["docker"].before = lambda action: None
    assert scene.run(ONLY, REMOVING).errors == ()
    assert ZEN not in scene.store.load_state().resources


def test_a_silent_provider_that_the_tenant_never_used_keeps_nobody(scene: Scene) -> None:
    scene.run(BOTH)
    scene.providers["docker"].memory.faults.gap = "engine is gone"
    result = scene.run(ONLY, REMOVING)
    assert (states(result), result.errors) == ({"zen/web": "done"}, ())
    assert removals(scene) == {"docker": [], "local": ["zen"]}
    assert ZEN not in scene.store.load_state().resources


def test_an_apply_that_changes_nothing_is_no_event_and_no_entry(scene: Scene) -> None:
    scene.run(BOTH)
    before = (len(scene.told), len(scene.audit()))
    scene.run(BOTH)
    assert (len(scene.told), len(scene.audit())) == before


def test_a_row_that_was_held_back_is_not_in_the_audit(scene: Scene) -> None:
    def desire(image: str) -> DesiredState:
        return make_desired(
            {"acme/web": App(image=image), "zen/web": App(image=image, provider="docker")}
        )

    scene.run(desire("shop:1"))
    before = len(scene.audit())
    scene.providers["docker"].memory.faults.gap = "engine is gone"
    assert states(scene.run(desire("shop:2"))) == {"acme/web": "done"}
    assert [item.address for item in scene.audit()[before:]] == ["deployment/acme/web"]


def test_the_audit_has_one_entry_per_row_with_its_outcome(scene: Scene) -> None:
    def fail(action: Action) -> Outcome | None:
        is_zen = getattr(action, "instance", None) == instance_key("zen", "web")
        return Outcome(action, ProviderError("no space")) if is_zen else None

    scene.local.before = fail
    scene.run(BOTH)
    found = {item.address: (item.action, item.outcome) for item in scene.audit()}
    outcome = found.pop("instance/zen/web")
    assert outcome[0] == "create" and outcome[1].startswith("failed ") and "no space" in outcome[1]
    assert found.pop("deployment/zen/web") == outcome
    assert found == {
        "tenant/acme": ("create", "done"),
        "tenant/zen": ("create", "done"),
        "instance/acme/web": ("create", "done"),
        "deployment/acme/web": ("create", "done"),
    }
    assert scene.told[0].type == "apply.started"
    assert scene.told[0].message == "6 to add, 0 to change, 0 to destroy"


def test_a_tenant_whose_calls_hang_does_not_keep_the_others_waiting(scene: Scene) -> None:
    scene.actions = 24
    apps = {f"acme/web{number}": App(replicas=1) for number in range(30)} | {"zen/web": App()}
    is_zen_begun = threading.Event()

    def hang(action: Action) -> None:
        if action.instance.tenant == "zen":  # type: ignore[union-attr]
            is_zen_begun.set()
        else:
            assert is_zen_begun.wait(10), "it is behind all of the others"

    scene.local.before = hang
    assert set(states(scene.run(make_desired(apps))).values()) == {"done"}
