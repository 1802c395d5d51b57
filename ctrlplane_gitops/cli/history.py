"""``history`` and ``events``: what was, from the record alone."""

from __future__ import annotations

from datetime import timedelta

from ctrlplane_gitops.cli.context import Context, opened_store
from ctrlplane_gitops.cli.exit_codes import ExitCode
from ctrlplane_gitops.clock import rfc3339
from ctrlplane_gitops.errors import UsageError
from ctrlplane_gitops.redact import one_line
from ctrlplane_gitops.state.key import Kind, ResourceKey, parse_address
from ctrlplane_gitops.state.log import AuditFilter, EventFilter, LogFilter, Page
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
    for name in ("since", "until", "by", "action", "outcome"):
        if options[name] is not None:
            raise UsageError(f"--{name} is about the audit", hint="add --audit")
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
    by = options["by"] or ""
    where = AuditFilter(
        _filter_of(context),
        by if ":" in by or not by else f"user:{by}",
        options["action"] or "",
        options["outcome"] or "",
    )
    with opened_store(context) as store:
        found = store.read_audit(where, Page(options["limit"]))
    entries = [row.entry for row in reversed(found)]
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


def _filter_of(context: Context) -> LogFilter:
    """What the flags of both logs say. An address that ends in a slash, or a star, means all that
    begin with it."""
    options, now = context.options, context.clock.now()
    address: str | None = options["address"]
    below = address.removesuffix("*") if address and address.endswith(("/", "*")) else ""
    since, until = (
        now - value if isinstance(value, timedelta) else value
        for value in (options["since"], options["until"])
    )
    return LogFilter(
        tenant=options["tenant"] or "",
        address=None if below else address,
        below=below,
        since=since,
        until=until,
    )


def run_events(context: Context) -> ExitCode:
    """The newest events, oldest first."""
    options = context.options
    where = EventFilter(_filter_of(context), (options["type"] or "").removesuffix("*"))
    with opened_store(context) as store:
        found = store.read_events(where, Page(options["limit"]))
    events = [row.event for row in reversed(found)]
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
