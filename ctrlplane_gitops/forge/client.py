"""A forge that is told commit statuses."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import timedelta
from http import HTTPStatus
from urllib.parse import urlsplit

from ctrlplane_gitops.errors import ForgeError
from ctrlplane_gitops.forge.base import CommitStatus, ForgeKind, ForgeSettings, Telling
from ctrlplane_gitops.forge.gitea import tell_gitea
from ctrlplane_gitops.forge.github import tell_github
from ctrlplane_gitops.forge.gitlab import is_known_state, tell_gitlab
from ctrlplane_gitops.http.fetch import FetchError, Reply, post

# Shorter than what is left for a stop.
_TIMEOUT = timedelta(seconds=5)
_TELLERS: Mapping[ForgeKind, Callable[[ForgeSettings, CommitStatus], Telling]] = {
    ForgeKind.GITHUB: tell_github,
    ForgeKind.GITLAB: tell_gitlab,
    ForgeKind.GITEA: tell_gitea,
    ForgeKind.FORGEJO: tell_gitea,
}
_HINTS = {
    401: "check CTRLPLANE_FORGE_TOKEN",
    403: "the token may not set commit statuses of this repository",
    404: "check CTRLPLANE_FORGE_URL, CTRLPLANE_FORGE_API, and what the token may see",
}


class Forge:
    """One repository at one forge."""

    def __init__(self, settings: ForgeSettings) -> None:
        self._settings = settings
        self._where = urlsplit(settings.api).netloc

    def tell(self, status: CommitStatus) -> None:
        """Set the status of a commit. ForgeError, retryable where it may succeed later: nobody
        answers, the forge is overloaded or has had too many requests."""
        telling = _TELLERS[self._settings.kind](self._settings, status)
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        body = json.dumps(telling.body).encode()
        is_gitlab = self._settings.kind is ForgeKind.GITLAB
        try:
            reply = post(
                telling.url, body, {**headers, **telling.headers}, _TIMEOUT, reads_answer=is_gitlab
            )
        except FetchError as failure:
            raise self._refusal(str(failure), is_retryable=True) from None
        if 200 <= reply.status < 300 or (is_gitlab and is_known_state(reply.status, reply.body)):
            return
        raise self._refusal(
            f"it was answered {reply.status} {_phrase(reply.status)}".rstrip(),
            is_retryable=_is_passing(reply),
            hint=_HINTS.get(reply.status),
        )

    def _refusal(self, why: str, *, is_retryable: bool, hint: str | None = None) -> ForgeError:
        text = f"the commit status could not be set at {self._where}: {why}"
        return ForgeError(text, hint=hint, is_retryable=is_retryable)


def _is_passing(reply: Reply) -> bool:
    """GitHub answers 403 to who asks too often, and says so by these headers."""
    is_limited = "retry-after" in reply.headers or reply.headers.get("x-ratelimit-remaining") == "0"
    return reply.status in (408, 409, 429) or reply.status >= 500 or is_limited


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
