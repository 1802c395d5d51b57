"""How instances are, what they use, and what made us look: a row per path."""

from __future__ import annotations

from datetime import timedelta

from ctrlplane_gitops.api.query import PAGE, TENANT, choice, natural, page_of, text
from ctrlplane_gitops.api.read import API, where_of
from ctrlplane_gitops.api.route import Call, Reach, Route
from ctrlplane_gitops.auth.roles import Permission
from ctrlplane_gitops.state.delivery import DeliveryOutcome
from ctrlplane_gitops.state.health import Health
from ctrlplane_gitops.status.board import Board
from ctrlplane_gitops.status.row import DeliveryRow, HealthRow, TelemetryRow

_HOUR_S = 3600
_MONTH_S = 31 * 24 * _HOUR_S


def build_vital_routes(board: Board) -> tuple[Route, ...]:
    def get_telemetry(call: Call) -> TelemetryRow | None:
        window = timedelta(seconds=call.get("window_s", _HOUR_S))
        return board.get_telemetry(call.path["tenant"], call.path["name"], window)

    return (
        Route(
            "GET",
            f"{API}/health",
            Permission.READ,
            Reach.LIST,
            "How instances are that somebody has verified, in pages.",
            lambda call: board.list_health(where_of(call), page_of(call.query))._asdict(),
            (TENANT, choice("state", "Only those that are so.", Health), *PAGE),
            HealthRow,
            is_list=True,
        ),
        Route(
            "GET",
            f"{API}/instances/<tenant>/<name>/health",
            Permission.READ,
            Reach.TENANT,
            "How an instance is, check by check, its uptime and what held before.",
            lambda call: board.get_health(**call.path),
            shows=dict,
        ),
        Route(
            "GET",
            f"{API}/instances/<tenant>/<name>/telemetry",
            Permission.READ,
            Reach.TENANT,
            "What an instance and each of its replicas used.",
            get_telemetry,
            (natural("window_s", "How far back, in seconds (3600).", _MONTH_S, 60),),
            TelemetryRow,
        ),
        _build_deliveries(board),
    )


def _build_deliveries(board: Board) -> Route:
    return Route(
        "GET",
        f"{API}/deliveries",
        Permission.READ,
        Reach.PLANE,
        "Webhooks and polls, and what came of each, the newest first.",
        lambda call: board.list_deliveries(
            call.get("sender"), call.get("outcome"), page_of(call.query)
        )._asdict(),
        (
            text("sender", "Only of this sender, such as github or poll."),
            choice("outcome", "Only with this outcome.", DeliveryOutcome),
            *PAGE,
        ),
        DeliveryRow,
        is_list=True,
    )
