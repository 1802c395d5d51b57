"""Gitea and Forgejo.

Sources: https://docs.gitea.com/api/next/#tag/repository/operation/repoCreateStatus
(``POST /repos/{owner}/{repo}/statuses/{sha}``, ``CreateStatusOption``: states ``pending``,
``success``, ``error``, ``failure`` and ``warning``; answered 201) and
https://docs.gitea.com/development/api-usage, https://forgejo.org/docs/latest/user/api-usage/
(``Authorization: token ...``). Needs a token with the scope ``write:repository``.
"""

from __future__ import annotations

from urllib.parse import quote

from ctrlplane_gitops.forge.base import (
    CommitState,
    CommitStatus,
    ForgeSettings,
    Telling,
    shorten,
)

_STATES = {CommitState.CANCELLED: "error"}


def tell_gitea(settings: ForgeSettings, status: CommitStatus) -> Telling:
    body = {
        "state": _STATES.get(status.state, status.state.value),
        "description": shorten(status.description, 255),
        "context": status.context,
    }
    if status.url:
        body["target_url"] = status.url
    return Telling(
        f"{settings.api}/repos/{quote(settings.repository)}/statuses/{quote(status.commit)}",
        body,
        {"Authorization": f"token {settings.token.reveal().decode()}"},
    )
