"""A plan as text, in Terraform's conventions where one exists."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from ctrlplane_gitops.plan.change import (
    ABSENT,
    Autoscaled,
    Blocked,
    Change,
    ChangeAction,
    Drift,
    FieldChange,
    Plan,
    PlanHeader,
)
from ctrlplane_gitops.redact import MASK, printable
from ctrlplane_gitops.rollout.preview import RolloutPreview
from ctrlplane_gitops.state.key import Kind, ResourceKey

NO_CHANGES = "No changes. Your infrastructure matches the configuration."

_SIGNS = {
    ChangeAction.CREATE: "+",
    ChangeAction.UPDATE: "~",
    ChangeAction.REPLACE: "-/+",
    ChangeAction.DELETE: "-",
    ChangeAction.ADOPT: "=",
    ChangeAction.KEEP: "!",
}
_VERBS = {
    ChangeAction.CREATE: "will be created",
    ChangeAction.UPDATE: "will be updated",
    ChangeAction.REPLACE: "must be replaced",
    ChangeAction.DELETE: "will be destroyed",
    ChangeAction.ADOPT: "will be adopted",
    ChangeAction.KEEP: "stays as it is",
}
_COLORS = {"+": "32", "~": "33", "-": "31", "-/+": "31", "!": "31", "#": "1", "=": "36"}
_NOTE_COLUMN = 68
_PLAIN_REASONS = frozenset({"not there yet", "specs changed", "no longer in Git"})


def render_plan(plan: Plan, *, is_color: bool = False, duration_s: float | None = None) -> str:
    """The whole plan; ends with a newline. ``duration_s`` is how long reading took."""
    sections = [
        [render_header(plan.header, duration_s)],
        list(_render_drift(plan.drift)),
        list(_render_autoscaled(plan.autoscaled)),
        *(list(render_change(item)) for item in plan.changes if not item.blocked),
        list(_render_blocked(plan)),
        list(_render_refusals(plan.refusals)),
        _render_diagnostics(plan),
        list(render_summary(plan)),
    ]
    text = "\n\n".join("\n".join(map(_flatten, section)) for section in sections if section)
    lines = printable(text).split("\n")
    if is_color:
        lines = [_paint(line) for line in lines]
    return "\n".join(lines) + "\n"


def render_header(header: PlanHeader, duration_s: float | None = None) -> str:
    """``Control plane prod @ 3f9c2ab (clean) | 42 resources read in 0.2s``."""
    text = f"Control plane {header.plane}"
    if header.commit:
        text += f" @ {header.commit[:7]}"
    if header.is_dirty is not None:
        text += " (dirty)" if header.is_dirty else " (clean)"
    text += f" | {header.read_count} resource{'' if header.read_count == 1 else 's'} read"
    return text if duration_s is None else f"{text} in {duration_s:.1f}s"


def render_change(change: Change) -> Iterator[str]:
    """One row: a comment that says it in words, then the block."""
    title = f"  # {change.key} {_VERBS[change.action]}"
    if change.rollout is not None and change.action is not ChangeAction.CREATE:
        title += f" by {change.strategy}"
        title += f", {_downtime(change.rollout)}"
    yield _with_note(title, str(change.origin) if change.origin else "")
    if change.reason and change.reason not in _PLAIN_REASONS:
        yield f"  # ({change.reason})"
    if change.action is ChangeAction.ADOPT:
        return
    sign = _SIGNS[change.action]
    name = json.dumps(_short_name(change.key))
    yield f'  {sign} resource "{change.key.kind}" {name} {{'
    yield from _render_fields(change.fields, 0, 6)
    if change.hidden:
        noun = "attribute" if change.hidden == 1 else "attributes"
        yield f"        # ({change.hidden} unchanged {noun} hidden)"
    yield "    }"
    if change.rollout is not None and change.rollout.text:
        yield f"    rollout: {change.rollout.text}"


def _downtime(rollout: RolloutPreview) -> str:
    if rollout.has_downtime:
        return "with downtime"
    return "no route, so its addresses change" if rollout.is_unrouted else "no downtime"


def render_summary(plan: Plan) -> Iterator[str]:
    """The last lines: counts as Terraform prints them, rollouts and downtime."""
    if plan.adopted:
        yield f"Adopt: {plan.adopted} already there, only written down."
    blocked = len(plan.blocked)
    if plan.is_empty and not blocked and not plan.refusals:
        errors = sum(1 for item in plan.diagnostics if item.is_error)
        if errors:
            noun = "error" if errors == 1 else "errors"
            yield f"No changes in what is sound; {errors} {noun} in the specs."
        elif plan.gaps:
            yield "No changes, as far as can be seen: a provider did not answer."
        else:
            yield NO_CHANGES
        return
    add, change, destroy = plan.counts
    text = f"Plan: {add} to add, {change} to change, {destroy} to destroy."
    yield f"{text} {blocked} blocked." if blocked else text
    # The first release of an instance has nothing to replace, so no downtime either.
    rollouts = [
        item
        for item in plan.changes
        if item.rollout and not item.blocked and item.action is not ChangeAction.CREATE
    ]
    if rollouts:
        kinds = Counter(item.strategy for item in rollouts)
        down = [
            f"{item.key.address}{'' if item.rollout.has_downtime else ' (no route)'}"
            for item in rollouts
            if item.rollout and (item.rollout.has_downtime or item.rollout.is_unrouted)
        ]
        text = ", ".join(f"{count} {name}" for name, count in sorted(kinds.items()))
        yield f"Rollouts: {text}. Downtime: {', '.join(down) or 'none'}."


def render_value(value: Any) -> str:
    """A JSON value on one line; masked values as they are."""
    return MASK if value == MASK else json.dumps(value, ensure_ascii=False, sort_keys=True)


def group_blocked(changes: Sequence[Change]) -> list[tuple[Blocked, list[Change]]]:
    """Blocked rows by their reason, in the order of the first of each."""
    found: dict[Blocked, list[Change]] = {}
    for item in changes:
        if item.blocked is not None:
            found.setdefault(item.blocked, []).append(item)
    return list(found.items())


def _render_drift(drift: Sequence[Drift]) -> Iterator[str]:
    if not drift:
        return
    yield f"Drift ({len(drift)}): changed outside Git"
    for item in drift:
        note = "will be corrected" if item.is_corrected else "is not corrected in this pass"
        yield _with_note(f"  ~ {item.key}   {item.text}", note)


def _render_autoscaled(found: Sequence[Autoscaled]) -> Iterator[str]:
    if not found:
        return
    yield f"Autoscaled ({len(found)}): left alone"
    for item in found:
        note = f"decided by {item.by}" if item.by else "nobody has decided yet"
        yield _with_note(f"    {item.key}   replicas: {item.replicas} (autoscaler)", note)


def _render_fields(fields: Sequence[FieldChange], depth: int, indent: int) -> Iterator[str]:
    """Fields as nested blocks; ``fields`` agree on the first ``depth`` names of their path."""
    pad = " " * indent
    place = 0
    while place < len(fields):
        first = fields[place]
        name = first.path[depth]
        inside = [item for item in fields[place:] if item.path[depth] == name]
        if len(first.path) == depth + 1:
            yield pad + _render_field(first)
            place += 1
            continue
        yield f"{pad}{_sign(inside)} {name} {{"
        yield from _render_fields(inside, depth + 1, indent + 4)
        yield f"{pad}  }}"
        place += len(inside)


def _render_field(item: FieldChange) -> str:
    name = item.path[-1]
    if item.before is ABSENT:
        return f"+ {name} = {render_value(item.after)}"
    if item.after is ABSENT:
        return f"- {name} = {render_value(item.before)}"
    return f"~ {name} = {render_value(item.before)} -> {render_value(item.after)}"


def _sign(fields: Sequence[FieldChange]) -> str:
    if all(item.before is ABSENT for item in fields):
        return "+"
    return "-" if all(item.after is ABSENT for item in fields) else "~"


def _render_blocked(plan: Plan) -> Iterator[str]:
    if not plan.blocked:
        return
    yield f"Blocked ({len(plan.blocked)}): not done, and why"
    for blocked, items in group_blocked(plan.changes):
        for item in items:
            wish = "" if item.action is ChangeAction.KEEP else f" would be {_WISHES[item.action]}"
            yield f"  ! {item.key}{wish}"
        yield f"      {blocked.reason} [{blocked.code}]"
        yield f"      {blocked.hint}"


_WISHES = {
    ChangeAction.CREATE: "created",
    ChangeAction.UPDATE: "updated",
    ChangeAction.REPLACE: "replaced",
    ChangeAction.DELETE: "destroyed",
    ChangeAction.ADOPT: "adopted",
}


def _render_refusals(refusals: Sequence[Blocked]) -> Iterator[str]:
    if refusals:
        yield "Refused: nothing of this plan will be applied"
    for item in refusals:
        yield f"  ! {item.reason} [{item.code}]"
        yield f"      {item.hint}"


def _render_diagnostics(plan: Plan) -> list[str]:
    if not plan.diagnostics:
        return []
    lines = [f"Diagnostics ({len(plan.diagnostics)}):"]
    for item in plan.diagnostics:
        lines.extend(f"  {line}" for line in item.render().split("\n"))
    return lines


def _short_name(key: ResourceKey) -> str:
    return key.name if key.kind is Kind.TENANT else f"{key.tenant}/{key.name}"


def _with_note(text: str, note: str) -> str:
    return f"{text.ljust(_NOTE_COLUMN - 1)} {note}" if note else text


def _flatten(line: str) -> str:
    """What a provider says must not pass for a line of the plan."""
    return line if line.isprintable() else " ".join(line.splitlines())


def sign_of(line: str) -> str:
    """How a line of a plan is meant: ``+ ~ - -/+ ! # =``, ``title`` for the header and the
    summary, "" for all else.

    >>> sign_of("  ~ instance/acme/web"), sign_of("Plan: 1 to add"), sign_of("    }")
    ('~', 'title', '')
    """
    sign = line.split(maxsplit=1)[0] if line.strip() else ""
    if sign in _COLORS:
        return sign
    return "title" if line.startswith(("Plan:", "No changes", "Control plane")) else ""


def _paint(line: str) -> str:
    sign = sign_of(line)
    color = "1" if sign == "title" else _COLORS.get(sign)
    return f"\x1b[{color}m{line}\x1b[0m" if color else line
