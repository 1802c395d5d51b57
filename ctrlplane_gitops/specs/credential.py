"""Finding credentials that somebody wrote in clear."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ctrlplane_gitops.specs.problem import Field, Problem, format_field

_KEY = re.compile(
    r"pass(word|wd|phrase)|secret|token|credential|(api|access|private|secret|auth)[-_]?key", re.I
)
# A key that says where the value is, not what it is: tokenFile, secretName, PASSWORD_ENV.
_REFERENCE = re.compile(r"(file|path|dir|env|name|ref|from|url|arn|id)$", re.I)
_USERINFO = re.compile(r"^[a-z][a-z0-9+.-]*://[^/\s@:]*:[^/\s@]+@", re.I)
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")
HINT = "never write a credential in Git: name an environment variable or a file that holds it"


def find_credentials(value: Any, where: Field) -> Iterator[Problem]:
    """A problem for every string below ``value`` that looks like a credential; never shows it.

    >>> [problem.summary for problem in find_credentials({"token": "abc"}, ("router",))]
    ['spec.router.token is a credential in clear']
    >>> list(find_credentials({"tokenFile": "/run/token"}, ("router",)))
    []
    """
    pending: list[tuple[Any, Field]] = [(value, where)]
    while pending:
        item, place = pending.pop()
        if isinstance(item, dict):
            pending += [(inner, (*place, key)) for key, inner in item.items()]
        elif isinstance(item, list):
            pending += [(inner, (*place, index)) for index, inner in enumerate(item)]
        elif isinstance(item, str | int) and not isinstance(item, bool) and _is_clear(item, place):
            summary = f"{format_field(('spec', *place))} is a credential in clear"
            yield Problem("clear-secret", summary, HINT, place)


def is_credential_name(word: str) -> bool:
    """Whether a key says that its value is a credential.

    >>> is_credential_name("api_key"), is_credential_name("tokenFile")
    (True, False)
    """
    return bool(_KEY.search(word)) and not _REFERENCE.search(word)


def _is_clear(item: str | int, place: Field) -> bool:
    text = str(item)
    if not text.strip():
        return False
    if _USERINFO.search(text) or _PRIVATE_KEY.search(text):
        return True
    word = next((part for part in reversed(place) if isinstance(part, str)), "")
    return is_credential_name(word)
