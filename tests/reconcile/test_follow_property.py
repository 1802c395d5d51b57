"""Whatever is committed, a part says of its tenants what the whole says, and misses nobody."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ctrlplane_gitops.diagnostics import has_errors
from ctrlplane_gitops.reconcile.follow import Follower
from ctrlplane_gitops.reconcile.gather import Wanted
from tests.reconcile.follow_kit import (
    BACKENDS,
    HEADER,
    ScriptedSource,
    app,
    read_everything,
    route,
    secret,
    tenant,
    write,
)

_TENANTS = ("a", "b", "c", "d")
_names = st.sampled_from(_TENANTS)
_hosts = st.sampled_from(("x.example", "X.example", "y.example", "z.example"))
_specs = st.sampled_from(
    (
        *("", "replicas: 2", "secrets: [token]"),
        *(f"dependsOn: [instance/{name}/web]" for name in _TENANTS),
        *("files: [{path: conf, source: app/conf.txt}]", "files: [{path: c, source: other.yaml}]"),
    )
)
_versions = st.sampled_from(("1", "2"))
_routes = st.builds(route, _names, _hosts, st.sampled_from(("/", "/api")))
# Mostly sound, or there would only be wholes.
_BROKEN = f"{HEADER}kind: Instance\nmetadata: {{tenant: b, name: new}}\nspec: {{replcias: 2}}\n"
_wrong = st.sampled_from(
    ("---\nspec: [\n", _BROKEN, _BROKEN, app("a", "replcias: 2"), secret("b", "MISSING"))
)
_second = st.builds(app, _names, _specs, name=st.just("two"))
_first = st.builds(app, _names, _specs, _versions)
_extra = st.one_of(st.just(""), st.just(""), _routes, _first, _second, _wrong)


@st.composite
def _edits(draw: st.DrawFn) -> dict[str, str | None]:
    """What a commit does to a file or two; None removes one."""
    edits: dict[str, str | None] = {}
    for _ in range(draw(st.integers(1, 2))):
        path = draw(st.sampled_from((*_TENANTS, *_TENANTS, "shared.yaml", "other.yaml", "conf")))
        if path in _TENANTS:
            spec, version, host = draw(_specs), draw(_versions), draw(_hosts)
            parts = [tenant(path), secret(path), app(path, spec, version), route(path, host)]
            kept = draw(st.sampled_from((parts, parts, parts[:3], parts[:2], parts[:1], [])))
            edits[f"tenants/{path}.yaml"] = "".join(kept) or None
        elif path == "conf":
            edits["app/conf.txt"] = draw(_versions)
        else:
            edits[path] = draw(_extra) or None
    return edits


def _by_tenant(wanted: Wanted) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    assert wanted.desired is not None
    for key, resource in wanted.desired.resources.items():
        meaning = wanted.desired.instances.get(key)
        found.setdefault(key.tenant, {})[key.address] = (resource, meaning)
    return found


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(_edits(), st.sampled_from((True, True, False))), max_size=6), st.booleans()
)
def test_a_part_agrees_with_the_whole(
    steps: list[tuple[dict[str, str | None], bool]], has_commits: bool
) -> None:
    source = ScriptedSource(has_commits=has_commits)
    source.files |= {"app/conf.txt": b"1", "other.yaml": b""}
    for name in _TENANTS:
        write(source, {f"tenants/{name}.yaml": tenant(name) + app(name) + secret(name)})
    follower = Follower(source, None, BACKENDS)
    settled = follower.follow()
    assert settled.part is None
    follower.settle(settled)
    for edits, is_settled in steps:
        write(source, edits)
        wanted, whole = follower.follow(), read_everything(source)
        if wanted.part is not None:
            _check_part(wanted, whole, settled)
        else:
            assert wanted.desired == whole.desired
            assert wanted.diagnostics == whole.diagnostics
        if is_settled:
            follower.settle(wanted)
            settled = whole


def _check_part(wanted: Wanted, whole: Wanted, settled: Wanted) -> None:
    assert wanted.part is not None and whole.desired is not None
    tenants, now, before = wanted.part.tenants, _by_tenant(whole), _by_tenant(settled)
    assert not has_errors(wanted.diagnostics)
    assert _by_tenant(wanted) == {name: now[name] for name in tenants if name in now}
    differ = {name for name in {*now, *before} if now.get(name) != before.get(name)}
    assert differ <= tenants
    assert not tenants & whole.desired.frozen.keys()
    for wanted_by in (before, now):
        known = {key for name in differ for key in wanted_by.get(name, ())}
        instances = {key for key in known if key.startswith("instance/")}
        assert instances <= {key.address for key in wanted.part.instances}
