"""Plans on disk: enough to tell later whether the very same plan would still be made.

A plan file holds no work. ``apply FILE`` plans again and does the new plan only when every row of
it is a row of the file with the same fingerprint, so a file cannot be used to smuggle anything in.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ctrlplane_gitops.errors import UsageError
from ctrlplane_gitops.plan.as_json import header_as_json
from ctrlplane_gitops.plan.change import Plan, PlanHeader
from ctrlplane_gitops.state.desired import Json
from ctrlplane_gitops.value import struct

FORMAT = "ctrlplane-gitops/plan"
VERSION = 1


@struct
class SavedPlan:
    """``changes`` maps an address to its action and fingerprint; ``options`` is the caller's own
    (flags the plan was made with); ``summary`` is ``{"add": 1, "change": 0, "destroy": 0}``."""

    header: PlanHeader
    options: Json
    changes: Mapping[str, tuple[str, str]]
    summary: Mapping[str, int]


def dump_plan(plan: Plan, options: Json) -> str:
    """The text of a plan file; fingerprints instead of values. Ends with a newline."""
    raw = {
        "format": FORMAT,
        "version": VERSION,
        "header": header_as_json(plan.header),
        "options": dict(options),
        "changes": {
            item.key.address: [str(item.action), item.fingerprint] for item in plan.changes
        },
        "summary": plan.counts._asdict(),
    }
    return json.dumps(raw, indent=2, sort_keys=True) + "\n"


def load_plan(text: str) -> SavedPlan:
    """The inverse; UsageError when the text is not a plan file of a version we read."""
    try:
        raw: Any = json.loads(text)
    except (ValueError, RecursionError):
        raw = None
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        raise UsageError("this is not a plan file", hint="make one with plan --out FILE")
    if raw.get("version") != VERSION:
        raise UsageError(
            f"the plan file has version {raw.get('version')!r}, this program reads {VERSION}",
            hint="plan again with this program",
        )
    try:
        return SavedPlan(
            PlanHeader(**raw["header"]),
            dict(raw["options"]),
            {
                str(address): (str(action), str(fingerprint))
                for address, (action, fingerprint) in raw["changes"].items()
            },
            {str(name): int(count) for name, count in raw["summary"].items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        raise UsageError("the plan file is damaged", hint="plan again") from None


def compare(saved: SavedPlan, plan: Plan) -> tuple[str, ...]:
    """What moved since the plan was saved, one sentence per item; empty: identical.

    The commit itself may differ: only what the plan touches counts."""
    moved = []
    if saved.header.plane != plan.header.plane:
        moved.append(f"control plane {saved.header.plane} became {plan.header.plane}")
    if saved.header.is_destroy != plan.header.is_destroy:
        moved.append("one plan destroys and the other does not")
    found = {item.key.address: (str(item.action), item.fingerprint) for item in plan.changes}
    for address in sorted({*saved.changes, *found}):
        before, after = saved.changes.get(address), found.get(address)
        if before is None and after is not None:
            moved.append(f"{address}: {after[0]} is new")
        elif before is not None and after is None:
            moved.append(f"{address}: {before[0]} is no longer needed")
        elif before is not None and after is not None and before != after:
            moved.append(
                f"{address}: {before[0]} became {after[0]}"
                if before[0] != after[0]
                else f"{address}: what it was decided from changed"
            )
    return tuple(moved)
