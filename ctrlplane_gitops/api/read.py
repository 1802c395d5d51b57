"""What may be read: a row per path."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ctrlplane_gitops.api.query import INSTANCE, LABEL, PAGE, TENANT, moment, page_of, text
from ctrlplane_gitops.api.route import Call, Parameter, Reach, Route
from ctrlplane_gitops.auth.roles import Permission
from ctrlplane_gitops.status.board import Board, Where
from ctrlplane_gitops.status.history import LogWhere
from ctrlplane_gitops.status.message import MessageWhere
from ctrlplane_gitops.status.row import (
    AuditRow,
    DeploymentRow,
    EventRow,
    InstanceDetail,
    InstanceRow,
    MessageRow,
    PlanRow,
    ReleaseRow,
    RolloutRow,
    RouteRow,
    SecretRow,
    TenantRow,
    WorkerRow,
)

API = "/api/v1"
_OF_LOG = (
    TENANT,
    text("kind", "Only of addresses of this kind, such as instance."),
    text("address", "Only of this address."),
    moment("since", "From this moment on."),
    moment("until", "Before this moment."),
)


def where_of(call: Call) -> Where:
    """What the query narrows a list to, and who asks."""
    return Where(call.who.tenants, **_without_page(call))


def log_where_of(call: Call) -> LogWhere:
    return LogWhere(call.who.tenants, **_without_page(call))


def _without_page(call: Call) -> dict[str, Any]:
    return {name: value for name, value in call.query.items() if name not in ("limit", "cursor")}


def build_read_routes(board: Board) -> tuple[Route, ...]:
    return (
        *_build_running(board),
        *_build_wanted(board),
        *_build_logs(board),
        *_build_plane(board),
    )


def _build_running(board: Board) -> tuple[Route, ...]:
    return (
        *_build_noun("tenants", TenantRow, board.list_tenants, (TENANT, LABEL)),
        _get(
            "tenants/<tenant>", "A tenant.", TenantRow, lambda c: board.get_tenant(c.path["tenant"])
        ),
        *_build_noun(
            "instances",
            InstanceRow,
            board.list_instances,
            (
                TENANT,
                text("phase", "Only in this phase, such as running."),
                text("provider", "Only at this provider, by its alias."),
                LABEL,
            ),
        ),
        _get(
            "instances/<tenant>/<name>",
            "An instance: what Git says, what is recorded, what was seen last.",
            InstanceDetail,
            lambda call: board.get_instance(**call.path),
        ),
        _get(
            "instances/<tenant>/<name>/rollout",
            "Where the rollout of an instance stands.",
            RolloutRow,
            lambda call: board.get_rollout(**call.path),
        ),
        *_build_noun(
            "releases",
            ReleaseRow,
            board.list_releases,
            (TENANT, INSTANCE, text("state", "Only in this state, such as active.")),
        ),
        _get(
            "releases/<tenant>/<name>/<int:number>",
            "A release.",
            ReleaseRow,
            lambda call: board.get_release(**call.path),
        ),
    )


def _build_wanted(board: Board) -> tuple[Route, ...]:
    return (
        *_build_noun(
            "deployments", DeploymentRow, board.list_deployments, (TENANT, INSTANCE, LABEL)
        ),
        _get(
            "deployments/<tenant>/<name>",
            "A deployment.",
            DeploymentRow,
            lambda call: board.get_deployment(**call.path),
        ),
        *_build_noun("routes", RouteRow, board.list_routes, (TENANT, INSTANCE, LABEL)),
        _get("routes/<tenant>/<name>", "A route.", RouteRow, lambda c: board.get_route(**c.path)),
        *_build_noun("secrets", SecretRow, board.list_secrets, (TENANT, LABEL)),
        _get(
            "secrets/<tenant>/<name>",
            "Where a secret comes from and goes to; never its value.",
            SecretRow,
            lambda call: board.get_secret(**call.path),
        ),
    )


def _build_noun(
    noun: str, shows: type, read: Callable[[Where, Any], Any], query: tuple[Parameter, ...]
) -> tuple[Route, ...]:
    return (_list(noun, shows, lambda call: read(where_of(call), page_of(call.query)), query),)


def _build_logs(board: Board) -> tuple[Route, ...]:
    return (
        _list(
            "events",
            EventRow,
            lambda call: board.list_events(log_where_of(call), page_of(call.query)),
            (*_OF_LOG, text("type", "Only types that begin so, such as rollout.")),
        ),
        _list(
            "audit",
            AuditRow,
            lambda call: board.list_audit(log_where_of(call), page_of(call.query)),
            (
                *_OF_LOG,
                text("actor", "Only what this actor did."),
                text("action", "Only this action."),
                text("outcome", "Only with an outcome that begins so."),
            ),
        ),
    )


def _build_plane(board: Board) -> tuple[Route, ...]:
    def find_worker(call: Call) -> WorkerRow | None:
        found = (item for item in board.list_workers() if item.name == call.path["worker"])
        return next(found, None)

    return (
        Route(
            "GET",
            f"{API}/plan",
            Permission.READ,
            Reach.LIST,
            "What the last pass would do, or does.",
            lambda call: board.get_plan(call.who.tenants),
            shows=PlanRow,
        ),
        Route(
            "GET",
            f"{API}/workers",
            Permission.READ,
            Reach.PLANE,
            "The workers, by name.",
            lambda call: {"items": board.list_workers(), "next": None},
            shows=WorkerRow,
            is_list=True,
        ),
        Route(
            "GET",
            f"{API}/workers/<worker>",
            Permission.READ,
            Reach.PLANE,
            "A worker.",
            find_worker,
            shows=WorkerRow,
        ),
        _build_messages(board),
    )


def _build_messages(board: Board) -> Route:
    return Route(
        "GET",
        f"{API}/messages",
        Permission.READ,
        Reach.PLANE,
        "What the subscriptions of notifications are told, in pages.",
        lambda call: board.list_messages(
            MessageWhere(**_without_page(call)), page_of(call.query)
        )._asdict(),
        (
            text("subscription", "Only of this one."),
            text("state", "Only pending, delivered or failed."),
            text("address", "Only about this address."),
            *PAGE,
        ),
        MessageRow,
        is_list=True,
    )


def _list(
    noun: str, shows: type, answer: Callable[[Call], Any], query: tuple[Parameter, ...]
) -> Route:
    return Route(
        "GET",
        f"{API}/{noun}",
        Permission.READ,
        Reach.LIST,
        f"{noun.capitalize()}, in pages.",
        lambda call: answer(call)._asdict(),
        (*query, *PAGE),
        shows,
        is_list=True,
    )


def _get(path: str, summary: str, shows: type, answer: Callable[[Call], Any]) -> Route:
    return Route(
        "GET", f"{API}/{path}", Permission.READ, Reach.TENANT, summary, answer, shows=shows
    )
