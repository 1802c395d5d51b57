"""``apply`` and ``destroy``: look, ask, act."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ctrlplane_gitops.app import App, build_pass, open_plane
from ctrlplane_gitops.cli.context import (
    Context,
    gather,
    gather_for_change,
    invalid_specs,
    is_valid,
    opened,
    require_desired,
)
from ctrlplane_gitops.cli.exit_codes import ExitCode, exit_of_apply
from ctrlplane_gitops.cli.plan import policy_of, saved_options, show_plan
from ctrlplane_gitops.cli.progress import event_printer, wait_printer
from ctrlplane_gitops.cli.result import show_result
from ctrlplane_gitops.cli.stopping import interruptible, stopping
from ctrlplane_gitops.errors import CancelledError, GuardError, StalePlanError, UsageError
from ctrlplane_gitops.plan.change import Plan, Policy
from ctrlplane_gitops.plan.planfile import SavedPlan, compare, load_plan
from ctrlplane_gitops.reconcile.look import Look
from ctrlplane_gitops.reconcile.run import Amendment, Specs, run_pass
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.value import replace


def run_apply(context: Context) -> ExitCode:
    """Apply the specs, or exactly the plan in FILE."""
    options = context.options
    saved = _load_saved(options["file"]) if options["file"] else None
    planned = saved_options(saved) if saved else {}
    for name, value in planned.items():
        if name != "ref" and options.get(name) and options[name] != value:
            raise UsageError(
                f"--{name.replace('_', '-')} cannot change a saved plan",
                hint="give it to plan --out FILE instead",
            )
    policy = policy_of({**options, **planned}, is_keep_going=options["keep_going"])

    def read(app: App) -> Specs:
        wanted = gather_for_change(context, app)
        desired = require_desired(context, wanted)
        if not is_valid(wanted) and not options["keep_going"]:
            context.terminal.diagnose(wanted.diagnostics)
            raise invalid_specs(wanted, hint="--keep-going applies the tenants that are sound")
        return wanted, desired

    with opened(context, ref=planned.get("ref")) as app:
        return run_and_show(context, app, read, policy, saved)


def run_destroy(context: Context) -> ExitCode:
    """Remove everything that is recorded or runs under this control plane's name."""
    policy = policy_of(context.options, is_keep_going=True, is_destroy=True)

    def read(app: App) -> Specs:
        wanted = gather_for_change(context, app, is_destroy=True)
        return wanted, require_desired(context, wanted)

    with opened(context) as app:
        return run_and_show(context, app, read, policy)


def about_instance(context: Context, key: ResourceKey) -> tuple[Callable[[App], Specs], Policy]:
    """How a pass about one instance alone reads, and what it may do: nothing is removed by it, and
    others' errors are others'."""

    def read(app: App) -> Specs:
        wanted = gather(app)
        desired = require_desired(context, wanted)
        if key not in desired.instances:
            raise UsageError(f"Git has no sound {key}", hint="get instances lists what it has")
        return wanted, desired

    return read, Policy(targets=(key.address,), is_keep_going=True, is_prune_enabled=False)


def run_and_show(
    context: Context,
    app: App,
    read: Callable[[App], Specs],
    policy: Policy,
    saved: SavedPlan | None = None,
    amendment: Amendment | None = None,
    expected: ExitCode | None = None,
) -> ExitCode:
    """A whole pass with approval, progress and result. ``read`` gives what Git says now, or raises
    when nothing may be done with it. ``expected`` is an end that is a success here."""
    options, terminal = context.options, context.terminal
    specs = read(app)
    with stopping(context.cancel), open_plane(app, specs[1].plane, is_read_only=False) as plane:
        parts = replace(
            build_pass(
                app,
                plane,
                context.cancel,
                event_printer(terminal, context.clock),
                wait_printer(terminal, context.clock),
            ),
            lock_timeout=options["lock_timeout"],
            timeout=options["timeout"],
            is_detached=options["detach"],
        )
        seen, result = run_pass(
            specs,
            lambda: read(app),
            parts,
            policy,
            lambda look: _approve(context, look, saved),
            amendment,
        )
    code = exit_of_apply(
        seen.plan, result, seen.is_blind, is_valid=is_valid(seen.wanted) or policy.is_destroy
    )
    code = ExitCode.OK if code is expected else code
    show_result(context, seen.plan, result, code)
    return code


def _load_saved(path: str) -> SavedPlan:
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise UsageError(f"cannot read the plan file {path}: {reason.lower()}") from None
    return load_plan(text)


def _approve(context: Context, look: Look, saved: SavedPlan | None) -> None:
    """Show the plan and have it approved; raises when it must not be done."""
    plan, options = look.plan, context.options
    if saved is not None:
        moved = compare(saved, plan)
        if moved:
            raise StalePlanError(
                "the saved plan is stale: " + "; ".join(moved), hint="plan again, and apply that"
            )
    if context.format != "json":
        show_plan(context, plan)
    if plan.refusals:
        first = plan.refusals[0]
        raise GuardError("; ".join(item.reason for item in plan.refusals), hint=first.hint)
    if plan.is_empty or saved is not None or options["auto_approve"]:
        return
    if not context.terminal.is_interactive or context.format == "json":
        is_shown = context.format != "json"
        raise UsageError(
            "this plan has to be approved and "
            + ("nobody is there to ask" if is_shown else "--json does not show it"),
            hint="add --auto-approve (-y), or save a plan with plan --out FILE and apply that",
        )
    if not _is_approved(context, plan):
        raise CancelledError("not approved, nothing was changed")


def _is_approved(context: Context, plan: Plan) -> bool:
    try:
        with interruptible():
            return context.terminal.ask(_question(plan))
    except KeyboardInterrupt:
        return False


def _question(plan: Plan) -> str:
    add, change, destroy = plan.counts
    what = f"{add} to add, {change} to change, {destroy} to destroy"
    return f"\nDo you want to do this ({what})? Only 'yes' is accepted: "
