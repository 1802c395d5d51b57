"""Claims that hold for every repository."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from ctrlplane_gitops.catalog.build import build_catalog
from ctrlplane_gitops.catalog.fingerprint import canonical_json, fingerprint_of
from ctrlplane_gitops.diagnostics import Diagnostic, Origin, error
from ctrlplane_gitops.specs.document import Document
from ctrlplane_gitops.state.desired import DesiredState
from ctrlplane_gitops.state.key import Kind
from tests.catalog.catalog_kit import (
    deployment,
    digests_of,
    instance,
    plane,
    route,
    secret,
    tenant,
)

_TENANTS = ("a", "b", "c")
_NAMES = ("web", "db")
_tenants, _names = st.sampled_from(_TENANTS), st.sampled_from(_NAMES)
_addresses = st.builds("{}/{}".format, _tenants, _names)
_files = st.sampled_from(("one.yaml", "two.yaml", "three.yaml"))
_env = st.dictionaries(st.sampled_from(("A", "B", "PORT")), st.just("1"), max_size=2)
_ports = st.sampled_from(([], [{"name": "http", "port": 80}]))


@st.composite
def _documents(draw: st.DrawFn) -> list[Document]:
    """Small repositories in which much is wrong: names repeat, references miss."""
    found: list[Document] = [plane(), *(tenant(name) for name in draw(st.sets(_tenants)))]
    for line in range(draw(st.integers(0, 8))):
        address, at = draw(_addresses), draw(_files)
        kind = draw(st.sampled_from((Kind.INSTANCE, Kind.DEPLOYMENT, Kind.ROUTE, Kind.SECRET)))
        if kind is Kind.INSTANCE:
            waits = [f"instance/{item}" for item in draw(st.lists(_addresses, max_size=2))]
            found.append(
                instance(
                    address,
                    line,
                    at,
                    env=draw(_env),
                    ports=draw(_ports),
                    secrets=draw(st.lists(_names, unique=True, max_size=2)),
                    dependsOn=waits,
                )
            )
        elif kind is Kind.DEPLOYMENT:
            found.append(deployment(address, line, at, instance=draw(_names), env=draw(_env)))
        elif kind is Kind.ROUTE:
            found.append(route(address, line, at, instance=draw(_names)))
        else:
            found.append(secret(address, line, at, key=draw(st.sampled_from(("A", "T")))))
    return found


@st.composite
def _earlier(draw: st.DrawFn) -> list[Diagnostic]:
    owners = draw(st.lists(st.sampled_from(("", *_TENANTS)), max_size=2))
    return [error("bad", "bad", origin=Origin("x.yaml", 1), tenant=owner) for owner in owners]


def _build(
    documents: Sequence[Document], earlier: Sequence[Diagnostic]
) -> tuple[DesiredState, tuple[Diagnostic, ...]]:
    state, found = build_catalog(documents, earlier, {}, digests_of(documents))
    assert state is not None
    return state, found


@settings(max_examples=150, deadline=None)
@given(_documents(), _earlier(), st.randoms(use_true_random=False))
def test_the_order_documents_are_read_in_makes_no_difference(
    documents: list[Document], earlier: list[Diagnostic], random: st.DataObject
) -> None:
    shuffled = list(documents)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    first, second = _build(documents, earlier), _build(shuffled, earlier[::-1])
    assert first == second
    assert list(first[0].resources) == list(second[0].resources)
    assert list(first[0].instances) == list(second[0].instances)


@settings(max_examples=150, deadline=None)
@given(_documents(), _earlier())
def test_what_is_desired_is_whole_and_what_is_frozen_is_absent(
    documents: list[Document], earlier: list[Diagnostic]
) -> None:
    state, found = _build(documents, earlier)
    wrong = {item.tenant for item in (*earlier, *found) if item.is_error and item.tenant}
    assert set(state.frozen) == wrong
    assert not {key.tenant for key in state.resources} & wrong
    sound = {item.key for item in documents if item.tenant and item.tenant not in wrong}
    assert set(state.resources) == sound
    for key, item in state.instances.items():
        assert state.resources[key] is item.resource
        assert set(item.depends_on) <= set(state.instances)
        if item.deployment is not None:
            assert state.resources[item.deployment.key] is item.deployment
    for resource in state.resources.values():
        assert resource.fingerprint == fingerprint_of(canonical_json(resource.attributes))


@settings(max_examples=150, deadline=None)
@given(_documents(), _earlier())
def test_what_runs_first_is_never_a_circle(
    documents: list[Document], earlier: list[Diagnostic]
) -> None:
    state, _ = _build(documents, earlier)
    left = {key: set(item.depends_on) for key, item in state.instances.items()}
    while left:
        free = [key for key, waits in left.items() if not waits & left.keys()]
        assert free, left
        for key in free:
            del left[key]


@settings(max_examples=100, deadline=None)
@given(_documents(), _tenants)
def test_breaking_a_tenant_freezes_no_other(documents: list[Document], victim: str) -> None:
    before, _ = _build(documents, [])
    bad = error("bad", "bad", origin=Origin("x.yaml", 1), tenant=victim)
    after, _ = _build(documents, [bad])
    assert set(after.frozen) <= {*before.frozen, victim}
    for key, item in before.resources.items():
        if key.tenant != victim:
            assert after.resources[key] == item
