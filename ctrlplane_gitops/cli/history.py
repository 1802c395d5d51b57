"""``history`` and ``events``: what was, from the record alone."""

from __future__ import annotations

from ctrlplane_gitops.cli.context import Context, opened_store
from ctrlplane_gitops.cli.exit_codes import ExitCode
from ctrlplane_gitops.clock import rfc3339
from ctrlplane_gitops.errors import UsageError
from ctrlplane_gitops.redact import one_line
from ctrlplane_gitops.state.key import Kind, ResourceKey, parse_address
from ctrlplane_gitops.state.recorded import AuditEntry, Event
from ctrlplane_gitops.state.template import Release
from ctrlplane_gitops.status.table import render_table


def parse_instance(text: str) -> ResourceKey:
    """The instance an address means; a deployment's address means the instance of its name."""
    try:
        key = parse_address(text)
    except ValueError as error:
        raise UsageError(str(error)) from None
    if key.kind not in (Kind.INSTANCE, Kind.DEPLOYMENT):
        raise UsageError(f"{text} is not an instance", hint="give instance/<tenant>/<name>")
    return ResourceKey(Kind.INSTANCE, key.tenant, key.name)


def run_history(context: Context) -> ExitCode:
    """The releases of an instance, or with --audit who did what to it."""
    options = context.options
    if options["audit"]:
        return _show_audit(context)
    if not options["address"]:
        raise UsageError("history needs the address of an instance, or --audit")
    key = parse_instance(options["address"])
    with opened_store(context) as store:
        recorded = store.load_state()
    releases = recorded.releases.get(key, ())
    known = recorded.instances.get(key)
    if not releases:
        raise UsageError(f"nothing is recorded of {key}", hint="status lists what is")
    if context.format == "json":
        context.terminal.print_json({"releases": [_release_as_json(item) for item in releases]})
        return ExitCode.OK
    rows = [
        (
            item.label + ("*" if known and known.release == item.number else ""),
            item.state.value + (" pinned" if known and known.pin == item.number else ""),
            item.revision,
            item.commit[:7] or "-",
            rfc3339(item.created_at),
            item.template.image or " ".join(item.template.command) or "-",
            item.reason or "-",
        )
        for item in reversed(releases)
    ]
    headings = ("RELEASE", "STATE", "REVISION", "COMMIT", "CREATED", "RUNS", "REASON")
    context.terminal.print(render_table(headings, rows))
    return ExitCode.OK


def _release_as_json(item: Release) -> dict[str, object]:
    return {
        "release": item.number,
        "state": item.state.value,
        "revision": item.revision,
        "commit": item.commit,
        "created_at": rfc3339(item.created_at),
        "provider": item.template.provider,
        "image": item.template.image,
        "command": list(item.template.command),
        "resolved": dict(item.resolved),
        "reason": item.reason,
    }


def _show_audit(context: Context) -> ExitCode:
    options = context.options
    with opened_store(context) as store:
        entries = store.read_audit(address=options["address"], limit=options["limit"])
    if context.format == "json":
        context.terminal.print_json({"audit": [_audit_as_json(item) for item in entries]})
        return ExitCode.OK
    if not entries:
        context.terminal.note("no entries in the audit")
        return ExitCode.OK
    rows = [
        (rfc3339(item.at), item.actor, item.action, item.address, item.commit[:7] or "-",
         item.outcome)
        for item in entries
    ]  # fmt: skip
    headings = ("TIME", "ACTOR", "ACTION", "ADDRESS", "COMMIT", "OUTCOME")
    context.terminal.print(render_table(headings, rows))
    return ExitCode.OK


def _audit_as_json(item: AuditEntry) -> dict[str, str]:
    return {
        "at": rfc3339(item.at),
        "actor": item.actor,
        "action": item.action,
        "address": item.address,
        "commit": item.commit,
        "outcome": item.outcome,
    }


def run_events(context: Context) -> ExitCode:
    """The newest events, oldest first."""
    options = context.options
    with opened_store(context) as store:
        events = store.read_events(
            address=options["address"], type_prefix=options["type"] or "", limit=options["limit"]
        )
    if context.format == "json":
        context.terminal.print_json({"events": [_event_as_json(item) for item in events]})
        return ExitCode.OK
    if not events:
        context.terminal.note("no events")
    for item in events:
        text = one_line(f"{rfc3339(item.at)} {item.type} {item.address} {item.message}")
        context.terminal.print(f"{text}\n")
    return ExitCode.OK


def _event_as_json(item: Event) -> dict[str, object]:
    return {
        "id": item.id,
        "at": rfc3339(item.at),
        "type": item.type,
        "address": item.address,
        "message": item.message,
        "data": dict(item.data),
    }
