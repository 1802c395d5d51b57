"""What an apply came to, as text and JSON."""

from __future__ import annotations

from collections import Counter

from ctrlplane_gitops.cli.context import Context
from ctrlplane_gitops.cli.exit_codes import MEANINGS, ExitCode
from ctrlplane_gitops.execute.part import ApplyResult
from ctrlplane_gitops.execute.step import WorkState
from ctrlplane_gitops.plan.change import Plan
from ctrlplane_gitops.redact import one_line

_QUIET = (WorkState.DONE,)


def show_result(context: Context, plan: Plan, result: ApplyResult, code: ExitCode) -> None:
    """Print what was done, and what was not and why."""
    if context.format == "json":
        context.terminal.print_json(_as_json(plan, result, code))
        return
    terminal = context.terminal
    for warning in result.warnings:
        terminal.note(one_line(f"warning: {warning}"))
    for item in result.results:
        if item.state not in _QUIET:
            terminal.note(one_line(f"{item.instance.address}: {item.state}: {item.message}"))
    for error in result.errors:
        terminal.fail(error)
    if code is ExitCode.OK:
        add, change, destroy = plan.counts
        if plan.is_empty:
            if plan.adopted:
                terminal.print(f"Adopted {plan.adopted} resources; nothing was changed.\n")
            return
        if any(item.state is WorkState.ROLLED_BACK for item in result.results):
            terminal.print("\nAborted: the release before has all of the traffic again.\n")
            return
        started = sum(1 for item in result.results if item.state is WorkState.STARTED)
        if started:
            noun = "rollout is" if started == 1 else "rollouts are"
            terminal.print(f"\nApply left off: {started} {noun} under way; apply again goes on.\n")
            return
        terminal.print(
            f"\nApply complete! Resources: {add} added, {change} changed, {destroy} destroyed.\n"
        )
        return
    counts = Counter(str(item.state) for item in result.results)
    text = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
    if not text and plan.is_empty:
        text = "nothing to do"
    terminal.print(f"\nApply ended: {MEANINGS[code]}{f' ({text})' if text else ''}.\n")


def _as_json(plan: Plan, result: ApplyResult, code: ExitCode) -> dict[str, object]:
    return {
        "exit_code": int(code),
        "meaning": MEANINGS[code],
        "ending": str(result.ending),
        "commit": plan.header.commit,
        "summary": {**plan.counts._asdict(), "adopt": plan.adopted},
        "effects": result.effects,
        "results": [
            {
                "address": item.instance.address,
                "state": str(item.state),
                "message": item.message,
            }
            for item in result.results
        ],
        "errors": [{"code": error.code, "message": error.message} for error in result.errors],
        "warnings": list(result.warnings),
    }
