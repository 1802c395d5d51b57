"""GitLab.

Source: https://docs.gitlab.com/api/commits/#set-the-pipeline-status-of-a-commit
(``POST /projects/:id/statuses/:sha``, the id is the URL-encoded path; states ``pending``,
``running``, ``success``, ``failed``, ``canceled`` and ``skipped``; ``name`` is the label; answered
201). A description has at most 255 characters. A state that was set before is answered 400 by many
versions: https://gitlab.com/gitlab-org/gitlab-foss/-/issues/25807. Needs a token with the scope
``api`` and the role Developer.
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

_STATES = {CommitState.FAILURE: "failed", CommitState.CANCELLED: "canceled"}
_TRANSITION = b"Cannot transition status"


def tell_gitlab(settings: ForgeSettings, status: CommitStatus) -> Telling:
    body = {
        "state": _STATES.get(status.state, status.state.value),
        "description": shorten(status.description, 255),
        "name": status.context,
    }
    if status.url:
        body["target_url"] = status.url
    project, commit = quote(settings.repository, safe=""), quote(status.commit)
    return Telling(
        f"{settings.api}/projects/{project}/statuses/{commit}",
        body,
        {"PRIVATE-TOKEN": settings.token.reveal().decode()},
    )


def is_known_state(status: int, body: bytes) -> bool:
    """Whether an answer says that the commit has that state already, or is past it."""
    return status == 400 and _TRANSITION in body
