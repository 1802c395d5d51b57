"""catalog alone: what documents mean together, every default filled in."""

from pathlib import Path

from ctrlplane_gitops.catalog.build import build_catalog
from ctrlplane_gitops.specs.validate import parse

REPO = Path(__file__).parents[1] / "quickstart"

files = {str(path.relative_to(REPO)): path.read_bytes() for path in REPO.rglob("*.yaml")}
# The ids of files that replicas get; what they are is compared and nothing else.
entries = {str(path.relative_to(REPO)): "0" * 40 for path in REPO.rglob("*") if path.is_file()}
documents, diagnostics = parse(files)
desired, problems = build_catalog(documents, diagnostics, entries, {})
assert desired is not None and not problems
for key, instance in sorted(desired.instances.items()):
    print(f"{key}: {instance.replicas} by {instance.params.type}, revision {instance.revision}")
