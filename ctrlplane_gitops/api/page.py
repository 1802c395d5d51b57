"""The pages: HTML for people, of the same read model that the API shows. They read well without a
script; with it they follow the events."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

from flask import Response, request

from ctrlplane_gitops.api import fleet_page, log_page
from ctrlplane_gitops.api.errors import Refusal
from ctrlplane_gitops.api.guard import Guard, not_found
from ctrlplane_gitops.api.instance_page import show_detail
from ctrlplane_gitops.api.page_action import action_pages
from ctrlplane_gitops.api.page_frame import PATHS, Framer, answer_static
from ctrlplane_gitops.api.query import flag, natural, text
from ctrlplane_gitops.api.route import Call, Reach, Route
from ctrlplane_gitops.auth.roles import Permission
from ctrlplane_gitops.errors import CtrlplaneError
from ctrlplane_gitops.events.event import EventType
from ctrlplane_gitops.state.delivery import DeliveryRecord
from ctrlplane_gitops.state.key import ResourceKey, instance_key
from ctrlplane_gitops.status.board import Board, Where
from ctrlplane_gitops.status.history import LogWhere
from ctrlplane_gitops.status.message import MessageWhere
from ctrlplane_gitops.status.paging import Page
from ctrlplane_gitops.status.row import PlanRow
from ctrlplane_gitops.value import struct

_FEW, _MANY, _SCANNED = 8, 50, 1000
_NOT_RECORDED = "Nothing is recorded of it yet."


@struct
class SourceView:
    """What is in force: ``commit`` of ``ref``. The source was seen last at ``seen_at``, and
    ``error`` says why it is not to be had now. ``outcome`` is that of the last pass, at
    ``pass_at``. ``unready`` says why no pass has done all it could yet; everything was looked at
    last at ``observed_at``."""

    commit: str = ""
    ref: str = ""
    seen_at: datetime | None = None
    error: str = ""
    outcome: str = ""
    pass_at: datetime | None = None
    unready: str = ""
    observed_at: datetime | None = None


@struct
class PageViews:
    """Where the pages' answers come from besides the board. Each is called by many threads and may
    raise CtrlplaneError. ``read_logs`` gives the last lines of an instance. ``read_health`` and
    ``read_telemetry`` give what the templates draw, None where nothing is recorded."""

    read_plane: Callable[[], str]
    read_source: Callable[[], SourceView]
    read_logs: Callable[[ResourceKey], Sequence[str]]
    read_health: Callable[[ResourceKey], Any]
    read_telemetry: Callable[[ResourceKey], Any]
    read_deliveries: Callable[[int | None, int], Sequence[DeliveryRecord]]
    now: Callable[[], datetime]


def page_routes(
    board: Board, views: PageViews, guard: Guard, actions: Iterable[Route] = ()
) -> tuple[Route, ...]:
    """A route for each page, and for each of the API's ``actions`` that they have a button for."""
    framer = Framer(guard, views.read_plane, views.now)
    pages = _Pages(board, views, framer)
    rows = (
        ("fleet", Reach.LIST, pages.fleet, ("q", "phase", "page")),
        ("tenants", Reach.LIST, pages.tenants, ("cursor",)),
        ("tenant", Reach.TENANT, pages.tenant, ("page",)),
        ("instance", Reach.TENANT, pages.instance, ()),
        ("plan", Reach.LIST, pages.plan, ()),
        ("commits", Reach.PLANE, pages.commits, ("cursor",)),
        ("commit", Reach.PLANE, pages.commit, ()),
        ("events", Reach.LIST, pages.events, ("tenant", "address", "type", "cursor")),
        ("deliveries", Reach.PLANE, pages.deliveries, ("cursor",)),
        ("workers", Reach.PLANE, pages.workers, ()),
        ("audit", Reach.LIST, pages.audit, ("tenant", "address", "cursor")),
    )
    shown = tuple(
        _get(name, Permission.READ, reach, answer, query) for name, reach, answer, query in rows
    )
    return (
        *shown,
        *action_pages(actions, framer),
        _get("login", None, Reach.OPEN, pages.login, ("next", "failed")),
        _get("static", None, Reach.OPEN, answer_static, ("v",)),
    )


_PARAMETERS = {
    "page": natural("page", "The number of the page.", 100_000, 1),
    "failed": flag("failed", "Whether a token was given that is none."),
}


def _get(
    name: str,
    permission: Permission | None,
    reach: Reach,
    answer: Callable[[Call], Response],
    query: tuple[str, ...],
) -> Route:
    """``done`` says what was just done."""
    names = (*query, "done")
    parameters = tuple(_PARAMETERS.get(item) or text(item, "") for item in names)
    summary = f"The page: {name}."
    return Route("GET", PATHS[name], permission, reach, summary, answer, parameters, is_page=True)


class _Pages:
    def __init__(self, board: Board, views: PageViews, framer: Framer) -> None:
        self._board, self._views, self._framer = board, views, framer

    def login(self, call: Call) -> Response:
        refusal = "This token is not one of those that are declared." if call.get("failed") else ""
        values = {"refusal": refusal, "next": call.get("next") or self._framer.url("fleet")}
        return self._framer.page("login.html", "login", None, values)

    def fleet(self, call: Call) -> Response:
        board, scope = self._board, call.who.tenants
        phases = board.list_phases(Where(scope=scope))
        search = _search(call)
        keys = fleet_page.find_keys(phases, search)
        rows = board.read_instances(fleet_page.cut_page(keys, search.number))
        plan = board.get_plan(scope)
        events = board.list_events(LogWhere(scope=scope), Page(limit=_FEW)).items
        values = {
            "source": self._show_source(),
            "total": len(phases),
            "tenants": len({key.tenant for key, _ in phases}),
            "map": fleet_page.show_map(phases),
            "tally": fleet_page.show_tally(phases),
            "phase": search.phase,
            "query": search.query,
            "title": "What was found" if search.query else "Instances, worst news first",
            "rows": [fleet_page.show_instance(row) for row in rows],
            "pager": self._number_pages(
                "fleet", search.number, len(keys), q=search.query, phase=search.phase
            ),
            "plan": _tell_plan(plan),
            "events": events,
            "nothing": _tell_nothing(search, bool(phases)),
        }
        return self._framer.page("fleet.html", "fleet", call.who, values)

    def _show_source(self) -> dict[str, Any]:
        seen = self._views.read_source()
        notes = []
        if seen.error:
            notes.append(
                f"The source is not to be had: {seen.error}. What it said last stays in force, "
                "and drift is repaired."
            )
        if seen.unready:
            notes.append(seen.unready[:1].upper() + seen.unready[1:])
        return {
            "seen": seen,
            "notes": notes,
        }

    def _number_pages(self, name: str, number: int, total: int, **arguments: Any) -> dict[str, Any]:
        """Pages by number, for a list whose order is of this moment."""
        url, last = self._framer.url, -(-total // fleet_page.PER_PAGE)
        first = (number - 1) * fleet_page.PER_PAGE
        return {
            "count": f"{first + 1} to {min(total, first + fleet_page.PER_PAGE)}",
            "total": total,
            "more": url(name, **arguments, page=number + 1) if number < last else "",
            "back": url(name, **arguments, page=number - 1) if number > 1 else "",
            "back_text": "Page before",
        }

    def _cursor_pages(
        self, name: str, count: int, more: str | None, **arguments: Any
    ) -> dict[str, Any]:
        """Pages that go on from a row."""
        url, is_first = self._framer.url, not request.args.get("cursor")
        return {
            "count": count,
            "total": None,
            "more": url(name, **arguments, cursor=more) if more else "",
            "back": "" if is_first else url(name, **arguments),
            "back_text": "Back to the newest",
        }

    def tenants(self, call: Call) -> Response:
        listing = self._board.list_tenants(
            Where(scope=call.who.tenants), Page(_MANY, call.get("cursor"))
        )
        values = {
            "rows": [fleet_page.show_tenant_line(row) for row in listing.items],
            "pager": {
                **self._cursor_pages("tenants", len(listing.items), listing.next),
                "back_text": "Back to the first",
            },
            "nothing": "No tenant is recorded yet.",
        }
        return self._framer.page("tenants.html", "tenants", call.who, values)

    def tenant(self, call: Call) -> Response:
        board, name = self._board, call.path["tenant"]
        row = board.get_tenant(name)
        if row is None:
            raise not_found()
        where = Where(tenant=name, scope=call.who.tenants)
        number = call.get("page", 1)
        phases = board.list_phases(where)
        keys = fleet_page.find_keys(phases, fleet_page.Search())
        rows = board.read_instances(fleet_page.cut_page(keys, number))
        log = LogWhere(scope=call.who.tenants, tenant=name)
        values = {
            "item": row,
            "quota": fleet_page.show_quota(row),
            "rows": [fleet_page.show_instance(item) for item in rows],
            "pager": self._number_pages("tenant", number, len(keys), tenant=name),
            "routes": board.list_routes(where, Page(_MANY)).items,
            "secrets": board.list_secrets(where, Page(_MANY)).items,
            "events": board.list_events(log, Page(limit=_FEW)).items,
        }
        return self._framer.page("tenant.html", "tenants", call.who, values)

    def instance(self, call: Call) -> Response:
        board, views = self._board, self._views
        key = instance_key(call.path["tenant"], call.path["name"])
        detail = board.get_instance(key.tenant, key.name)
        if detail is None:
            raise not_found()
        log = LogWhere(scope=call.who.tenants, tenant=key.tenant, address=key.address)
        lines, why = self._read_logs(key, call)
        values = {
            **show_detail(detail, call.who.may),
            "health": views.read_health(key),
            "health_nothing": _NOT_RECORDED,
            "telemetry": views.read_telemetry(key),
            "telemetry_nothing": _NOT_RECORDED,
            "logs": lines,
            "logs_nothing": why,
            "events": board.list_events(log, Page(limit=_FEW)).items,
        }
        return self._framer.page("instance.html", "fleet", call.who, values)

    def plan(self, call: Call) -> Response:
        row = self._board.get_plan(call.who.tenants)
        said = self._board.read_plan_text(call.who.tenants)
        lines = [log_page.show_plan_line(line) for line in said.splitlines()]
        values = {
            "summary": [] if row is None else _summarise(row),
            "outcome": "" if row is None else _outcome_of(row),
            "made_at": None if row is None else row.made_at,
            "lines": lines,
            "nothing": "No pass has made a plan yet.",
            "may_act": call.who.may(Permission.RECONCILE),
        }
        return self._framer.page("plan.html", "plan", call.who, values)

    def commits(self, call: Call) -> Response:
        cursor = call.get("cursor")
        entries = self._board.list_audit(LogWhere(), Page(_SCANNED, cursor))
        current = self._views.read_source().commit
        # Those that led to nothing are few pages back: a look is one row for as long as it is so.
        deliveries = () if cursor else self._views.read_deliveries(None, _SCANNED)
        rows = log_page.group_commits(entries.items, current, deliveries)
        values = {
            "rows": rows,
            "pager": self._cursor_pages("commits", len(rows), entries.next),
            "nothing": "No commit has changed anything yet.",
        }
        return self._framer.page("commits.html", "commits", call.who, values)

    def commit(self, call: Call) -> Response:
        commit = call.path["commit"]
        entries = self._board.list_audit(LogWhere(commit=commit), Page(limit=200))
        current = self._views.read_source().commit
        deliveries = [] if entries.items else self._views.read_deliveries(None, _SCANNED)
        ours = [item for item in deliveries if item.commit == commit]
        known = log_page.group_commits(entries.items, current, ours)
        if not known and commit != current:
            raise Refusal(404, "not-found", f"nothing is known of the commit {commit[:40]}")
        values = {
            "item": known[0] if known else log_page.show_unknown(commit),
            "deeds": [log_page.show_entry(item) for item in entries.items],
            "is_cut": entries.next is not None,
        }
        return self._framer.page("commit.html", "commits", call.who, values)

    def events(self, call: Call) -> Response:
        chosen = {name: call.get(name).strip() for name in ("tenant", "address", "type")}
        where = LogWhere(scope=call.who.tenants, **chosen)
        listing = self._board.list_events(where, Page(_MANY, call.get("cursor")))
        values = {
            "filter": chosen,
            "types": sorted(item.value for item in EventType),
            "rows": listing.items,
            "pager": self._cursor_pages("events", len(listing.items), listing.next, **chosen),
            "nothing": "No event is like this." if any(chosen.values()) else "No event yet.",
        }
        return self._framer.page("events.html", "events", call.who, values)

    def audit(self, call: Call) -> Response:
        chosen = {name: call.get(name).strip() for name in ("tenant", "address")}
        where = LogWhere(scope=call.who.tenants, **chosen)
        listing = self._board.list_audit(where, Page(_MANY, call.get("cursor")))
        values = {
            "filter": chosen,
            "rows": [log_page.show_entry(item) for item in listing.items],
            "pager": self._cursor_pages("audit", len(listing.items), listing.next, **chosen),
            "nothing": "No entry is like this." if any(chosen.values()) else "No entry yet.",
        }
        return self._framer.page("audit.html", "audit", call.who, values)

    def deliveries(self, call: Call) -> Response:
        before = call.get("cursor")
        number = int(before) if before.isascii() and before.isdigit() and len(before) < 19 else None
        found = self._views.read_deliveries(number, _MANY)
        more = str(found[-1].number) if len(found) == _MANY else None
        values = {
            "rows": [log_page.show_delivery(item) for item in found],
            "pager": self._cursor_pages("deliveries", len(found), more),
            "nothing": "No delivery has come in yet.",
            "messages": self._board.list_messages(MessageWhere(), Page(limit=_FEW)).items,
        }
        return self._framer.page("deliveries.html", "deliveries", call.who, values)

    def _read_logs(self, key: ResourceKey, call: Call) -> tuple[Sequence[str], str]:
        """The last lines, and why there are none."""
        if not call.who.may(Permission.LOGS):
            return (), "Not shown: it takes a role that may read logs."
        try:
            return self._views.read_logs(key), "Nothing was printed yet."
        except CtrlplaneError as error:
            return (), f"Not to be had now: {error.message}"

    def workers(self, call: Call) -> Response:
        values = {
            "rows": [log_page.show_worker(row) for row in self._board.list_workers()],
            "may_act": call.who.may(Permission.RUN_WORKER),
            "nothing": "No worker runs here.",
        }
        return self._framer.page("workers.html", "workers", call.who, values)


def _search(call: Call) -> fleet_page.Search:
    return fleet_page.Search(call.get("q").strip()[:100], call.get("phase"), call.get("page", 1))


def _tell_nothing(search: fleet_page.Search, is_any: bool) -> str:
    if not is_any:
        return "There are no instances yet: Git describes none, or no pass has been made."
    if search.query:
        return f"No tenant or instance has {search.query!r} in its name."
    return "No instance is in this phase."


def _tell_plan(row: PlanRow | None) -> dict[str, str] | None:
    if row is None:
        return None
    return {"outcome": _outcome_of(row), "text": ", ".join(_summarise(row))}


def _outcome_of(row: PlanRow) -> str:
    """What came of it, or that it is being done."""
    return row.outcome or "progressing"


def _summarise(row: PlanRow) -> list[str]:
    summary = row.plan["summary"]
    errors = sum(item["severity"] == "error" for item in row.plan["diagnostics"])
    wrong = [f"{errors} error{'s' if errors > 1 else ''} in the specs"] if errors else []
    if summary["is_empty"] and not summary["blocked"]:
        sound = "Nothing to change in what is sound" if errors else "Nothing to change"
        return [sound, *wrong]
    texts = [
        f"{summary['add']} to add", f"{summary['change']} to change",
        f"{summary['destroy']} to destroy",
    ]  # fmt: skip
    if summary["blocked"]:
        texts.append(f"{summary['blocked']} blocked")
    return [*texts, *wrong]
