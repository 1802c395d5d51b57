"""``plan`` and ``validate``: look, and change nothing."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctrlplane_gitops.cli.ahead import Ahead
from ctrlplane_gitops.cli.context import (
    Context,
    gather,
    gather_for_change,
    invalid_specs,
    is_valid,
    opened,
)
from ctrlplane_gitops.cli.exit_codes import ExitCode, exit_of_plan
from ctrlplane_gitops.cli.terminal import diagnostics_as_json
from ctrlplane_gitops.clock import monotonic_s
from ctrlplane_gitops.errors import UsageError
from ctrlplane_gitops.file import write_file

if TYPE_CHECKING:
    from ctrlplane_gitops.plan.change import Plan, Policy
    from ctrlplane_gitops.plan.planfile import SavedPlan
    from ctrlplane_gitops.reconcile.gather import Wanted

# What a plan file remembers of the command line: applying it means the same. Values without them.
SAVED: dict[str, Any] = {
    "ref": None,
    "target": (),
    "max_delete": None,
    "allow_empty": False,
    "allow_recreate": False,
    "retry_failed": False,
    "no_prune": False,
    "destroy": False,
}


def run_validate(context: Context) -> ExitCode:
    """Check the specs against themselves; no secret, store or provider is touched."""
    with opened(context) as app:
        wanted = gather(app, has_secrets=False)
    terminal, code = context.terminal, ExitCode.OK if is_valid(wanted) else ExitCode.INVALID
    errors = sum(1 for item in wanted.diagnostics if item.is_error)
    if context.format == "json":
        terminal.print_json(
            {
                "valid": not errors,
                "error_count": errors,
                "warning_count": len(wanted.diagnostics) - errors,
                "diagnostics": diagnostics_as_json(wanted.diagnostics),
            }
        )
        return code
    terminal.diagnose(wanted.diagnostics)
    if errors:
        raise invalid_specs(wanted)
    terminal.print(f"Success! {len(wanted.documents)} documents are valid.\n")
    return code


def run_plan(context: Context) -> ExitCode:
    """Show what an apply would do."""
    # To the very end: the collector would first go through all that was built, to find nothing.
    with gc_off():
        return _run_plan(context)


def _run_plan(context: Context) -> ExitCode:
    options = context.options
    began = monotonic_s()
    with opened(context) as app, Ahead(app) as ahead:
        wanted = gather_for_change(context, app, on_plane=ahead.begin)
        if wanted.desired is None:
            return _show_invalid(context, wanted)
        # While the providers are answering: what decides is loaded when they have been asked.
        from ctrlplane_gitops.reconcile.look import look

        plane, observed = ahead.take(wanted.desired.plane)
        seen = look(
            wanted, wanted.desired, plane.providers, plane.store, app.looks,
            policy_of(options, is_keep_going=True), context.clock.now(), observed=observed,
        )  # fmt: skip
    context.built.extend((app, wanted, seen))
    show_plan(context, seen.plan, monotonic_s() - began)
    valid = is_valid(wanted)
    if options["out"]:
        if not valid:
            raise invalid_specs(wanted, hint="a plan is only saved when the specs are valid")
        from ctrlplane_gitops.plan.planfile import dump_plan

        saved = {name: options[name] for name in SAVED}
        write_private(Path(options["out"]), dump_plan(seen.plan, saved))
        context.terminal.note(f"Saved the plan to {options['out']}")
    return exit_of_plan(
        seen.plan, seen.is_blind, is_valid=valid, is_detailed=options["detailed_exitcode"]
    )


def show_plan(context: Context, plan: Plan, duration_s: float | None = None) -> None:
    """Print the plan in the format asked for."""
    terminal = context.terminal
    if context.format == "json":
        from ctrlplane_gitops.plan.as_json import plan_as_json

        terminal.print_json(plan_as_json(plan))
    elif context.format == "markdown":
        from ctrlplane_gitops.plan.markdown import render_markdown

        terminal.print(render_markdown(plan, duration_s=duration_s))
    else:
        from ctrlplane_gitops.plan.render import render_plan

        terminal.print_raw(render_plan(plan, is_color=terminal.is_color, duration_s=duration_s))


def saved_options(saved: SavedPlan) -> dict[str, Any]:
    """The options of a plan file, all of them; UsageError where a value is none the flag takes."""
    found = {**SAVED, **{name: saved.options[name] for name in SAVED if name in saved.options}}
    ref, targets, limit = found["ref"], found["target"], found["max_delete"]
    is_sound = (
        (ref is None or isinstance(ref, str))
        and isinstance(targets, list | tuple)
        and all(isinstance(item, str) for item in targets)
        and (limit is None or (type(limit) is int and limit >= 0))
        and all(isinstance(found[name], bool) for name, value in SAVED.items() if value is False)
    )
    if not is_sound:
        raise UsageError("the plan file is damaged", hint="plan again")
    return {**found, "target": tuple(targets)}


def policy_of(options: Any, *, is_keep_going: bool, is_destroy: bool = False) -> Policy:
    """What the flags allow."""
    from ctrlplane_gitops.plan.change import Policy

    return Policy(
        max_delete=options["max_delete"],
        is_empty_allowed=options.get("allow_empty", False),
        is_retry_failed=options.get("retry_failed", False),
        is_recreate_allowed=options.get("allow_recreate", False),
        targets=tuple(options["target"]),
        is_destroy=is_destroy or options.get("destroy", False),
        is_prune_enabled=not options.get("no_prune", False),
        is_keep_going=is_keep_going,
    )


class gc_off:
    """No cyclic garbage collection for the block: a plan builds much and drops little, and the
    collector would walk all of it again and again (measured: four times as slow). What is there
    at the end is set aside for good, or it would be walked at once."""

    def __enter__(self) -> None:
        self._was_enabled = gc.isenabled()
        gc.disable()

    def __exit__(self, *_: object) -> None:
        if self._was_enabled:
            gc.freeze()
            gc.enable()


def _show_invalid(context: Context, wanted: Wanted) -> ExitCode:
    """Nothing can be planned: the same document with diagnostics alone for programs and comments,
    the diagnostics for people."""
    if context.format == "text":
        context.terminal.diagnose(wanted.diagnostics)
        raise invalid_specs(wanted)
    from ctrlplane_gitops.plan.change import Plan, PlanHeader

    snapshot = wanted.snapshot
    name = wanted.plane.name if wanted.plane else "(not known)"
    header = PlanHeader(name, snapshot.commit, snapshot.ref, snapshot.is_dirty, 0)
    show_plan(context, Plan(header, diagnostics=wanted.diagnostics))
    return ExitCode.INVALID


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read; whole or not at all."""
    try:
        write_file(path, text)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {(error.strerror or 'error').lower()}") from None
