"""GitHub and GitHub Enterprise Server.

Source: https://docs.github.com/en/rest/commits/statuses#create-a-commit-status
(``POST /repos/{owner}/{repo}/statuses/{sha}``, states ``error``, ``failure``, ``pending`` and
``success``, answered 201; at most 1,000 statuses per commit and context). A description has at most
140 characters. Needs *Commit statuses: write*, or the scope ``repo:status``.
"""

from __future__ import annotations

from ctrlplane_gitops.forge.base import CommitStatus, ForgeSettings, Telling
from ctrlplane_gitops.forge.shape import shape_status


def tell_github(settings: ForgeSettings, status: CommitStatus) -> Telling:
    headers = {
        "Accept": "application/vnd.github+json",
        "Authorization": f"Bearer {settings.token.reveal().decode()}",
        "X-GitHub-Api-Version": "2022-11-28",
    }
    return shape_status(settings, status, 140, headers)
