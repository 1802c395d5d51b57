"""Apply one plan, from its first word in the journal to its last."""

from __future__ import annotations

from ctrlplane_gitops.execute.batch import Batch
from ctrlplane_gitops.execute.loop import Loop
from ctrlplane_gitops.execute.part import ApplyParts, ApplyResult


def apply_plan(batch: Batch, parts: ApplyParts) -> ApplyResult:
    """Do what the plan says and return how each work ended.

    Raises ``LockError`` or ``StoreError`` when nothing can be written down any more; what was in
    flight has ended by then. A plan with refusals must not be handed in."""
    results: list[ApplyResult] = []
    batch.on_end = results.append
    batch.load()
    loop = Loop(parts)
    loop.admit(batch)
    loop.run()
    return results[0]
