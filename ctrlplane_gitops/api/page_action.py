"""What the buttons of the pages do: the same as the API's actions, sent by a form, which leads back
to the page it is on."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from flask import Response, redirect

from ctrlplane_gitops.api.page_frame import Framer
from ctrlplane_gitops.api.read import API
from ctrlplane_gitops.api.route import Call, Route
from ctrlplane_gitops.auth.roles import Permission
from ctrlplane_gitops.value import replace

# Whoever runs a command wants to see its output.
_OFFERED = frozenset(Permission) - {Permission.READ, Permission.LOGS, Permission.EXEC}


def action_pages(actions: Iterable[Route], framer: Framer) -> tuple[Route, ...]:
    """A route for each action there is a button for; who may, and what about, stays as it is."""
    return tuple(
        replace(
            item,
            path=item.path.removeprefix(API),
            answer=_leading_back(item, framer),
            is_page=True,
        )
        for item in actions
        if item.method == "POST" and item.permission in _OFFERED
    )


def _leading_back(route: Route, framer: Framer) -> Callable[[Call], Response | None]:
    def answer(call: Call) -> Response | None:
        if route.answer(call) is None:
            return None
        made = redirect(_find_back(route, call, framer), 303)
        assert isinstance(made, Response)
        return made

    return answer


def _find_back(route: Route, call: Call, framer: Framer) -> str:
    """The page, which then says what was done."""
    match route.permission:
        case Permission.RUN_WORKER:
            return framer.url("workers", done="run")
        case Permission.RECONCILE:
            return framer.url("plan", done="reconcile")
        case Permission.ROLLBACK:
            done = "unpin" if call.body.clear else "rollback"
        case _:
            done = str(route.permission)
    return framer.url("instance", **call.path, done=done)
