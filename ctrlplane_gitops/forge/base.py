"""Commit statuses, and what a forge of any kind needs to be told one."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from ctrlplane_gitops.redact import SecretValue
from ctrlplane_gitops.value import field, struct


class ForgeKind(StrEnum):
    """``forgejo`` has the API of ``gitea``."""

    GITHUB = "github"
    GITLAB = "gitlab"
    GITEA = "gitea"
    FORGEJO = "forgejo"


class CommitState(StrEnum):
    """``cancelled``: no pass of this commit will come to an end, a newer one came after it."""

    PENDING = "pending"
    SUCCESS = "success"
    FAILURE = "failure"
    CANCELLED = "cancelled"


@struct
class CommitStatus:
    """``context`` tells our status from those of others; ``url`` is a page about it, or ""."""

    commit: str
    state: CommitState
    description: str
    context: str
    url: str = ""


@struct
class ForgeSettings:
    """``api`` is the base of the API, without a slash at its end; ``repository`` the path of the
    repository there (``acme/prod``)."""

    kind: ForgeKind
    api: str
    repository: str
    token: SecretValue


@struct
class Telling:
    """The request that tells a status: a POST of JSON."""

    url: str
    body: Mapping[str, str]
    headers: Mapping[str, str] = field(default_factory=dict)


def shorten(text: str, limit: int) -> str:
    """
    >>> shorten("nothing to change", 10), shorten("short", 10)
    ('nothing t…', 'short')
    """
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
