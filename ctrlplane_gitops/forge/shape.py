"""The request that GitHub, Gitea and Forgejo share: they differ in headers and lengths."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from ctrlplane_gitops.forge.base import (
    CommitState,
    CommitStatus,
    ForgeSettings,
    Telling,
    shorten,
)

_STATES = {CommitState.CANCELLED: "error"}


def shape_status(
    settings: ForgeSettings, status: CommitStatus, most: int, headers: Mapping[str, str]
) -> Telling:
    """``POST /repos/{owner}/{repo}/statuses/{sha}``. ``most`` is how many characters a description
    may have."""
    body = {
        "state": _STATES.get(status.state, status.state.value),
        "description": shorten(status.description, most),
        "context": status.context,
    }
    if status.url:
        body["target_url"] = status.url
    return Telling(
        f"{settings.api}/repos/{quote(settings.repository)}/statuses/{quote(status.commit)}",
        body,
        headers,
    )
