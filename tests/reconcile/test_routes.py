"""The router in a pass: asked once, and told of nobody whom the pass is not about."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from ctrlplane_gitops.execute.pool import Pool
from ctrlplane_gitops.network.conformance_kit import make_certificate
from ctrlplane_gitops.network.memory import MemoryRouter
from ctrlplane_gitops.network.router import RouterSettings
from ctrlplane_gitops.providers.base import ProviderSettings
from ctrlplane_gitops.reconcile.look import Look
from ctrlplane_gitops.state.desired import ProviderConfig
from ctrlplane_gitops.state.traffic import RouteEntry, RouterState
from ctrlplane_gitops.store.sqlite import SqliteStore
from tests.reconcile.follow_kit import HEADER, app, route, tenant
from tests.reconcile.plane_kit import AskedProvider, Plane, quick
from tests.source.repo import make_repo

NAMES = ("acme", "kim", "zen")
PLANE = (
    f"{HEADER}kind: ControlPlane\nmetadata: {{name: prod}}\n"
    "spec: {providers: {here: {type: memory}}, defaultProvider: here, router: {type: memory}}\n"
)
SITE = "SITE"


class CountedRouter(MemoryRouter):
    """Counts how often it is asked what it serves."""

    looks = 0

    def observe(self) -> RouterState:
        self.looks += 1
        return super().observe()


def shop(name: str, version: str = "1", host: str = "") -> str:
    """A tenant with a route; acme's shows a certificate."""
    way = route(name, host or f"{name}.test")
    if name == "acme":
        way = way.replace("path: /", "path: /, tls: {certificate: site}")
        meta = f"metadata: {{tenant: {name}, name: site}}"
        way += f"{HEADER}kind: Secret\n{meta}\nspec: {{type: tls, from: {{env: {SITE}}}}}\n"
    return tenant(name) + app(name, version=version) + way


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[Plane]:
    """Three tenants with a route each, all of it served."""
    files = {f"tenants/{name}.yaml": quick(shop(name)) for name in NAMES}
    repo = make_repo(tmp_path / "repo", {"ctrlplane.yaml": PLANE.encode(), **files})
    store = SqliteStore(tmp_path / "state.db")
    config = ProviderConfig("here", "memory")
    provider = AskedProvider(ProviderSettings("prod", config, str(tmp_path)))
    router = CountedRouter(RouterSettings("prod", "memory", str(tmp_path)))
    pool = Pool(4, "test")
    value = make_certificate(tmp_path, "acme.test").reveal().decode()
    made = Plane(repo, store, provider, pool, variables={SITE: value}, router=router)
    made.run(made.follower.follow())
    assert set(served(made)) == set(NAMES)
    yield made
    pool.close()
    store.close()


def served(plane: Plane) -> Mapping[str, RouteEntry]:
    """What is served, by tenant."""
    assert plane.router is not None
    return {entry.key.tenant: entry for entry in plane.router.served.entries}


def follow(plane: Plane) -> tuple[Look, int]:
    """A pass over what changed; it, and how often the router was asked."""
    assert isinstance(plane.router, CountedRouter)
    plane.router.looks = 0
    seen, result = plane.run(plane.follower.follow())
    assert not result.errors
    assert {item.state for item in result.results} <= {"done"}
    return seen, plane.router.looks


def test_a_pass_without_changes_asks_the_router_once_and_tells_it_nothing(plane: Plane) -> None:
    assert isinstance(plane.router, CountedRouter)
    count = len(plane.router.tables)
    plane.router.looks = 0
    seen, result = plane.run(plane.follower.widen())
    assert seen.plan.is_empty and result.effects == 0
    assert (plane.router.looks, len(plane.router.tables)) == (1, count)


def test_a_pass_about_one_tenant_leaves_the_routes_of_all_others(plane: Plane) -> None:
    """Whose certificates it does not even have at hand."""
    before = served(plane)
    plane.push("zen", shop("zen", version="2"))
    seen, looks = follow(plane)
    assert seen.wanted.part is not None and seen.wanted.part.tenants == {"zen"}
    assert not (seen.wanted.secrets or {})
    assert [item.instance.tenant for item in seen.plan.works] == ["zen"]
    after = served(plane)
    assert [item.release for item in after["zen"].backends] == [2]
    assert {name: after[name] for name in ("acme", "kim")} == {
        name: before[name] for name in ("acme", "kim")
    }
    assert looks == 2  # once to compare, once by who is about to change something


def test_a_pass_about_one_tenant_sees_no_drift_of_others(plane: Plane) -> None:
    assert plane.router is not None
    (lost,) = (item for item in plane.router.served.entries if item.key.tenant != "kim"
               and item.key.tenant != "acme")  # fmt: skip
    rest = tuple(item for item in plane.router.served.entries if item is not lost)
    plane.router.apply(type(plane.router.served)(rest), {})
    plane.push("kim", shop("kim", version="2"))
    seen, _ = follow(plane)
    assert [item.key.tenant for item in seen.plan.changes] == ["kim"] and not seen.plan.drift
    assert set(served(plane)) == {"acme", "kim"}
    seen, _ = plane.run(plane.follower.widen())
    assert [item.key.address for item in seen.plan.drift] == ["route/zen/web"]
    assert set(served(plane)) == set(NAMES)


def test_a_route_that_goes_takes_a_pass_over_everything(plane: Plane) -> None:
    plane.push("zen", tenant("zen") + app("zen"))
    seen, _ = follow(plane)
    assert seen.wanted.part is None
    assert set(served(plane)) == {"acme", "kim"}


def test_a_route_that_changes_is_a_pass_about_its_tenant(plane: Plane) -> None:
    plane.push("zen", shop("zen", host="new.test"))
    seen, _ = follow(plane)
    assert seen.wanted.part is not None
    assert served(plane)["zen"].hosts == ("new.test",)
    assert len(plane.provider.asked) >= 1 and set(served(plane)) == set(NAMES)


def test_a_certificate_that_rotates_is_shown_by_the_next_pass(plane: Plane, tmp_path: Path) -> None:
    assert plane.router is not None
    generation = plane.router.observe().generation
    plane.variables[SITE] = make_certificate(tmp_path, "acme.test").reveal().decode()
    seen, result = plane.run(plane.follower.widen())
    assert [item.key.address for item in seen.plan.changes] == ["secret/acme/site"]
    assert result.errors == () and plane.router.observe().generation != generation
    assert plane.run(plane.follower.widen())[0].plan.is_empty


def test_a_silent_router_is_told_as_such_and_the_next_pass_goes_on(plane: Plane) -> None:
    assert plane.router is not None
    plane.router.faults.gap = "no answer"
    plane.push("zen", shop("zen", version="2"))
    wanted = plane.follower.follow()
    seen, result = plane.run(wanted)
    assert seen.is_blind and result.results == ()
    assert {item.blocked.code for item in seen.plan.blocked if item.blocked} == {"router-gap"}
    plane.router.faults.gap = None
    plane.run(plane.follower.widen())
    assert [item.release for item in served(plane)["zen"].backends] == [2]


def test_an_adapter_that_raises_is_a_router_that_does_not_answer(plane: Plane) -> None:
    def fail() -> RouterState:
        raise RuntimeError("bug")

    assert plane.router is not None
    plane.router.observe = fail  # type: ignore[method-assign]
    seen, _ = plane.run(plane.follower.widen())
    texts = [item.summary for item in seen.plan.diagnostics]
    assert texts == ["router: it did not answer: unexpected RuntimeError: bug"]
    assert seen.plan.is_empty
