"""A pass after a commit costs what the commit changed, and decides nothing it cannot know."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ctrlplane_gitops.catalog.packing import PackedText
from ctrlplane_gitops.errors import SourceError
from ctrlplane_gitops.execute.pool import Pool
from ctrlplane_gitops.providers.base import ProviderSettings
from ctrlplane_gitops.reconcile.follow import Follower
from ctrlplane_gitops.state.desired import DesiredState, ProviderConfig
from ctrlplane_gitops.state.key import instance_key
from ctrlplane_gitops.store.sqlite import SqliteStore
from tests.reconcile.follow_kit import (
    BACKENDS,
    PLANE,
    ScriptedSource,
    app,
    read_everything,
    route,
    secret,
    tenant,
)
from tests.reconcile.follow_kit import write as write_all
from tests.reconcile.plane_kit import AskedProvider, Plane, quick
from tests.source.repo import commit, make_repo, write

NAMES = tuple(f"t{number:02}" for number in range(30))


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[Plane]:
    files = {f"tenants/{name}.yaml": quick(tenant(name) + app(name)) for name in NAMES}
    repo = make_repo(tmp_path / "repo", {"ctrlplane.yaml": PLANE.encode(), **files})
    store = SqliteStore(tmp_path / "state.db")
    config = ProviderConfig("here", "memory")
    provider = AskedProvider(ProviderSettings("prod", config, str(tmp_path)))
    pool = Pool(4, "test")
    made = Plane(repo, store, provider, pool)
    provider.asked = []
    _, result = made.run(made.follower.follow())
    assert len(result.results) == len(NAMES)
    yield made
    pool.close()
    store.close()


def test_a_commit_costs_what_it_changed(plane: Plane) -> None:
    plane.push("t07", tenant("t07") + app("t07", version="2"))
    wanted = plane.follower.follow()
    assert wanted.parsed == 1
    assert len(wanted.documents) == 4  # the control plane's and this tenant's three
    seen, result = plane.run(wanted)
    web = instance_key("t07", "web")
    assert set(plane.provider.asked) == {frozenset([web])}
    assert set(seen.recorded.instances) == {web}
    assert [item.instance for item in result.results] == [web]
    assert plane.store.load_state().instances[web].release == 2
    assert len(plane.store.load_state().instances) == len(NAMES)


def test_of_a_tenant_of_many_only_those_that_a_commit_concerns_are_looked_at(plane: Plane) -> None:
    def specs(version: str) -> str:
        return tenant("t08") + app("t08", version=version) + app("t08", name="two")

    plane.push("t08", specs("1"))
    plane.run(plane.follower.follow())
    write(plane.repo, {"two.yaml": quick(app("t08", version="2", name="three"))})
    plane.push("t08", specs("1"))
    three = instance_key("t08", "three")
    seen, result = plane.run(plane.follower.follow())
    assert set(plane.provider.asked) == {frozenset([three])}
    assert [item.instance for item in result.results] == [three]
    assert {key.name for key in seen.desired.instances} == {"web", "two", "three"}


def test_who_a_commit_does_not_concern_is_not_built_anew(plane: Plane) -> None:
    two = instance_key("t09", "two")
    uses = "secrets: [token]"
    write(plane.repo, {"two.yaml": quick(app("t09", uses, name="two"))})
    plane.push("t09", tenant("t09") + secret("t09"))
    write(plane.repo, {"web.yaml": quick(app("t09", uses))})
    commit(plane.repo)

    def follow(version: str) -> DesiredState:
        write(plane.repo, {"web.yaml": quick(app("t09", uses, version=version))})
        commit(plane.repo)
        wanted = plane.follower.follow()
        plane.follower.settle(wanted)
        assert wanted.desired is not None
        return wanted.desired

    before = follow("2")
    assert follow("3").instances[two] is before.instances[two]
    plane.variables["TOKEN"] = "two"
    rotated = follow("4").instances[two]
    assert rotated.revision != before.instances[two].revision
    assert follow("5").instances[two] is rotated


def test_who_is_to_be_looked_at_again_is_although_nothing_changed(plane: Plane) -> None:
    web = instance_key("t09", "web")
    plane.follower.revisit([web])
    plane.run(plane.follower.follow())
    assert set(plane.provider.asked) == {frozenset([web])}


def test_without_a_change_nobody_is_asked(plane: Plane) -> None:
    before = plane.provider.effect_count
    seen, result = plane.run(plane.follower.follow())
    assert plane.provider.asked == []
    assert seen.plan.is_empty and not result.results
    assert plane.provider.effect_count == before


def test_a_part_that_was_not_settled_is_given_again(plane: Plane) -> None:
    plane.push("t01", tenant("t01") + app("t01", version="2"))
    plane.follower.follow()
    plane.push("t02", tenant("t02") + app("t02", version="2"))
    wanted = plane.follower.follow()
    assert wanted.part is not None
    assert wanted.part.tenants == {"t01", "t02"}
    plane.run(wanted)
    assert plane.follower.follow().part.tenants == frozenset()  # type: ignore[union-attr]


def test_who_routes_the_same_host_is_held_against_it(plane: Plane) -> None:
    plane.push("t01", tenant("t01") + app("t01") + route("t01", "x.example", "/a"))
    plane.run(plane.follower.follow())
    plane.push("t02", tenant("t02") + app("t02") + route("t02", "X.example", "/b"))
    wanted = plane.follower.follow()
    assert wanted.part is not None
    assert wanted.part.tenants == {"t01", "t02"}
    plane.run(wanted)
    plane.push("t02", tenant("t02") + app("t02") + route("t02", "X.example", "/a"))
    whole = plane.follower.follow()
    assert whole.part is None
    assert [item.code for item in whole.diagnostics if item.is_error] == ["route-conflict"]


def test_a_removal_is_weighed_against_everything(plane: Plane) -> None:
    plane.push("t03", None)
    seen, _ = plane.run(plane.follower.follow())
    assert seen.wanted.part is None
    assert plane.provider.asked[0] is None
    assert instance_key("t03", "web") not in plane.store.load_state().instances
    assert len(plane.provider.world.read().replicas) == len(NAMES) - 1


def test_an_engine_that_shows_nothing_is_not_taken_for_one_lost_replica(plane: Plane) -> None:
    """The part would make one instance anew; the whole sees that all are missing."""
    with plane.provider.world.change() as world:
        world.replicas.clear()
    plane.push("t04", tenant("t04") + app("t04", version="2"))
    before = plane.provider.effect_count
    seen, _ = plane.run(plane.follower.follow())
    assert seen.wanted.part is None
    assert {item.blocked.code for item in seen.plan.blocked if item.blocked} == {"mass-recreate"}
    assert plane.provider.effect_count == before


def test_a_provider_that_does_not_answer_widens_the_pass(plane: Plane) -> None:
    plane.provider.faults.gap = "gone"
    plane.push("t05", tenant("t05") + app("t05", version="2"))
    seen, _ = plane.run(plane.follower.follow())
    assert seen.wanted.part is None
    assert seen.is_blind


def test_a_change_of_the_control_plane_concerns_everybody(plane: Plane) -> None:
    write(plane.repo, {"ctrlplane.yaml": (PLANE + "# a remark\n").encode()})
    commit(plane.repo)
    assert plane.follower.follow().part is None


def test_rotated_secrets_are_found_by_gathering_everything(plane: Plane) -> None:
    plane.push("t06", tenant("t06") + app("t06", "secrets: [token]") + secret("t06"))
    plane.run(plane.follower.follow())
    plane.variables["TOKEN"] = "two"
    assert plane.follower.follow().part is not None
    _, result = plane.run(plane.follower.gather())
    assert [item.instance for item in result.results] == [instance_key("t06", "web")]


def test_a_source_that_fails_leaves_what_is_known(plane: Plane) -> None:
    plane.push("t01", tenant("t01") + app("t01", version="2"))
    plane.source.is_broken = True
    with pytest.raises(SourceError):
        plane.follower.follow()
    plane.source.is_broken = False
    wanted = plane.follower.follow()
    assert wanted.part is not None
    assert wanted.part.tenants == {"t01"}


def test_a_commit_that_changes_most_of_many_files_is_read_as_a_whole() -> None:
    source = ScriptedSource(has_commits=True)
    names = [f"t{number:04}" for number in range(1100)]
    write_all(source, {f"{name}.yaml": tenant(name) for name in names})
    follower = Follower(source, None, BACKENDS)
    follower.settle(follower.follow())
    for count, is_part in ((1000, True), (1001, False)):
        spec = f"spec: {{displayName: Of {count}}}"
        edits = {f"{name}.yaml": tenant(name).replace("spec: {}", spec) for name in names[:count]}
        write_all(source, edits)
        wanted = follower.follow()
        assert (wanted.part is not None) is is_part
        assert wanted.desired is not None
        follower.settle(wanted)
    assert wanted.desired == read_everything(source).desired


def test_nobody_keeps_the_documents_of_everything() -> None:
    """As values they are the largest there is; the library has what is asked for later."""
    source = ScriptedSource(has_commits=True)
    write_all(source, {f"t{number}.yaml": tenant(f"t{number}") for number in range(200)})
    follower = Follower(source, None, BACKENDS)
    whole = follower.follow()
    assert whole.documents == () and whole.desired is not None
    kept = [item.text for item in whole.desired.resources.values()]
    assert sum(isinstance(text, PackedText) for text in kept) > len(kept) / 2
    follower.settle(whole)
    assert follower.gather().documents == ()
