"""plan alone: three values in, a plan out. No provider, no store, no clock."""

from datetime import UTC, datetime
from pathlib import Path

from ctrlplane_gitops.catalog.build import build_catalog
from ctrlplane_gitops.plan.change import PlanHeader, Policy
from ctrlplane_gitops.plan.compute import compute_plan
from ctrlplane_gitops.plan.render import render_plan
from ctrlplane_gitops.specs.validate import parse
from ctrlplane_gitops.state.observed import ObservedState
from ctrlplane_gitops.state.recorded import RecordedState

REPO = Path(__file__).parents[1] / "quickstart"

files = {str(path.relative_to(REPO)): path.read_bytes() for path in REPO.rglob("*.yaml")}
entries = {str(path.relative_to(REPO)): "0" * 40 for path in REPO.rglob("*") if path.is_file()}
desired, _ = build_catalog(*parse(files), entries, {})
assert desired is not None
header = PlanHeader(desired.plane.name, "", "", None, len(desired.resources))
now = datetime(2026, 1, 1, tzinfo=UTC)
plan = compute_plan(desired, ObservedState(), RecordedState(), Policy(), header, now)
print(render_plan(plan), end="")
assert plan.counts.add == 6
