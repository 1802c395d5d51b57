"""``rollback``: run an earlier release until told otherwise."""

from __future__ import annotations

from ctrlplane_gitops.cli.apply import about_instance, run_and_show
from ctrlplane_gitops.cli.context import Context, opened
from ctrlplane_gitops.cli.exit_codes import ExitCode
from ctrlplane_gitops.cli.history import parse_instance
from ctrlplane_gitops.errors import UsageError
from ctrlplane_gitops.reconcile.pin import build_pin


def run_rollback(context: Context) -> ExitCode:
    """Pin an instance to an earlier release and roll it out, or unpin it and follow Git."""
    options = context.options
    key = parse_instance(options["address"])
    if options["clear"] and options["to"]:
        raise UsageError("--to and --clear exclude each other")

    with opened(context) as app:
        read, policy = about_instance(context, key)
        pin = build_pin(
            key, context.clock, app.settings.actor, options["to"], is_clear=options["clear"]
        )
        return run_and_show(context, app, read, policy, amendment=pin)
