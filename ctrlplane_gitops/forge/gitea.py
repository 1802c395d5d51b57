"""Gitea and Forgejo.

Sources: https://docs.gitea.com/api/next/#tag/repository/operation/repoCreateStatus
(``POST /repos/{owner}/{repo}/statuses/{sha}``, ``CreateStatusOption``: states ``pending``,
``success``, ``error``, ``failure`` and ``warning``; answered 201) and
https://docs.gitea.com/development/api-usage, https://forgejo.org/docs/latest/user/api-usage/
(``Authorization: token ...``). Needs a token with the scope ``write:repository``.
"""

from __future__ import annotations

from ctrlplane_gitops.forge.base import CommitStatus, ForgeSettings, Telling
from ctrlplane_gitops.forge.shape import shape_status


def tell_gitea(settings: ForgeSettings, status: CommitStatus) -> Telling:
    headers = {"Authorization": f"token {settings.token.reveal().decode()}"}
    return shape_status(settings, status, 255, headers)
