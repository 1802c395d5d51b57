"""GitHub and GitHub Enterprise Server.

Source: https://docs.github.com/en/rest/commits/statuses#create-a-commit-status
(``POST /repos/{owner}/{repo}/statuses/{sha}``, states ``error``, ``failure``, ``pending`` and
``success``, answered 201; at most 1,000 statuses per commit and context). A description has at most
140 characters. Needs *Commit statuses: write*, or the scope ``repo:status``.
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


def tell_github(settings: ForgeSettings, status: CommitStatus) -> Telling:
    body = {
        "state": _STATES.get(status.state, status.state.value),
        "description": shorten(status.description, 140),
        "context": status.context,
    }
    if status.url:
        body["target_url"] = status.url
    return Telling(
        f"{settings.api}/repos/{quote(settings.repository)}/statuses/{quote(status.commit)}",
        body,
        {
            "Accept": "application/vnd.github+json",
            "Authorization": f"Bearer {settings.token.reveal().decode()}",
            "X-GitHub-Api-Version": "2022-11-28",
        },
    )
