"""A plan as a pull-request comment: the summary at a glance, the diff behind a fold."""

from __future__ import annotations

from ctrlplane_gitops.plan.change import Change, Plan
from ctrlplane_gitops.plan.render import (
    group_blocked,
    render_change,
    render_header,
    render_plan,
    render_summary,
)

# GitHub refuses comments above 65,536 characters; the rest is room for the summary.
MAX_DIFF_CHARS = 50_000
MAX_ROWS = 100

_MARKS = {"+": "+", "-": "-", "-/+": "-", "~": "!", "!": "!"}


def render_markdown(plan: Plan, *, duration_s: float | None = None) -> str:
    """Markdown that ends with a newline and fits into a comment."""
    lines = [f"### {_escape(render_header(plan.header, duration_s))}", ""]
    summary = list(render_summary(plan))
    lines += [f"**{_escape(line)}**  " for line in summary]
    for item in plan.refusals:
        lines += [
            "",
            f"> **Refused:** {_escape(item.reason)} (`{item.code}`). {_escape(item.hint)}",
        ]
    if plan.changes:
        lines += ["", "| | Resource | Why |", "|---|---|---|"]
        lines += [_row(item) for item in plan.changes[:MAX_ROWS]]
        if len(plan.changes) > MAX_ROWS:
            lines.append(f"| | {len(plan.changes) - MAX_ROWS} more | |")
    for blocked, items in group_blocked(plan.changes):
        noun = "row" if len(items) == 1 else "rows"
        lines += ["", f"> **{len(items)} {noun} blocked:** {_escape(blocked.reason)} "]
        lines[-1] += f"(`{blocked.code}`). {_escape(blocked.hint)}"
    if plan.autoscaled:
        lines.append("")
    for one in plan.autoscaled:
        lines.append(f"`{one.key}` replicas: {one.replicas} (autoscaler)  ")
    lines += _fold(plan, duration_s)
    return "\n".join(lines) + "\n"


def _row(change: Change) -> str:
    what = f"{change.action}, blocked" if change.blocked else str(change.action)
    why = change.blocked.reason if change.blocked else change.reason
    return f"| {what} | `{change.key}` | {_escape(why)} |"


def _fold(plan: Plan, duration_s: float | None) -> list[str]:
    has_diff = any(True for item in plan.changes for _ in render_change(item))
    if not has_diff and not plan.diagnostics and not plan.drift:
        return []
    text = render_plan(plan, duration_s=duration_s).rstrip("\n")
    if len(text) > MAX_DIFF_CHARS:
        text = text[:MAX_DIFF_CHARS].rsplit("\n", 1)[0] + "\n... cut off, see the job's log"
    # A fence longer than any in the text cannot be closed from inside.
    fence = "```"
    while fence in text:
        fence += "`"
    body = "\n".join(_diff_line(line) for line in text.split("\n"))
    opening = ["", "<details><summary>Show the plan</summary>", "", f"{fence}diff"]
    return [*opening, body, fence, "", "</details>"]


def _diff_line(line: str) -> str:
    """The sign moves to the first column, where ``diff`` highlighting looks for it."""
    bare = line.lstrip(" ")
    sign, _, rest = bare.partition(" ")
    if sign not in _MARKS:
        return line
    return f"{_MARKS[sign]}{line[: len(line) - len(bare)]}{rest}"


def _escape(text: str) -> str:
    for char in "\\|<>*_`":
        text = text.replace(char, f"\\{char}")
    words = " ".join(text.split())
    return "".join(char for char in words if char.isprintable())
