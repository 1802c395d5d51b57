"""Is a delivery about what is followed here? Pure."""

from __future__ import annotations

import re
from functools import lru_cache

from ctrlplane_gitops.http.clone_url import parse_clone_url
from ctrlplane_gitops.source.hook.delivery import Delivery, Event
from ctrlplane_gitops.value import struct

_SUFFIX = re.compile(r"[~^][~^0-9]*$")
_AZURE_SSH = "ssh.dev.azure.com"


@struct
class Served:
    """``location`` is the path or URL that is followed, or the URL of what it is a mirror of.
    ``ref`` is the full name of what is followed there (``Snapshot.ref``), "" for a directory."""

    location: str
    ref: str


def find_other(delivery: Delivery, served: Served) -> str:
    """What a delivery is about, where that is nothing we follow; "" where it is worth a look.

    In doubt it is: a look costs little. A branch and a tag of one name are never taken for one
    another, nor is one repository for another of the same host."""
    if delivery.event is not Event.PUSH:
        return f"an event of kind {delivery.event}"
    ours = find_repository(served.location)
    theirs = [find_repository(url) for url in delivery.repository]
    if theirs and not any(_may_be(ours, one) for one in theirs):
        return f"the repository {'/'.join(filter(None, theirs[0]))}"
    if delivery.ref and not _is_followed(delivery.ref, served.ref):
        return f"{delivery.ref}, and {served.ref} is followed"
    return ""


@lru_cache(maxsize=256)
def find_repository(location: str) -> tuple[str, str]:
    """Host and path of a clone URL, the same however it is reached; no host for a path.

    >>> find_repository("https://GitHub.com/acme/Prod.git")
    ('github.com', 'acme/prod')
    >>> find_repository("git@github.com:acme/prod")
    ('github.com', 'acme/prod')
    >>> find_repository("ssh://git@example.com:2222/acme/prod/"), find_repository("/srv/prod.git")
    (('example.com', 'acme/prod'), ('', 'srv/prod'))
    >>> find_repository("git@ssh.dev.azure.com:v3/org/team/prod")
    ('dev.azure.com', 'org/team/prod')
    >>> find_repository("https://dev.azure.com/org/team/_git/prod")
    ('dev.azure.com', 'org/team/prod')
    """
    found = parse_clone_url(location)
    host, words = found.host.casefold(), found.path.casefold().split("/")
    if host == _AZURE_SSH:
        host, words = "dev.azure.com", words[1:]
    return host, "/".join(word for word in words if word != "_git")


def _may_be(ours: tuple[str, str], theirs: tuple[str, str]) -> bool:
    """A path may be a clone of anything; of two paths, one may be a link to the other."""
    if ours[0] and theirs[0]:
        return ours == theirs
    if ours[0] or theirs[0]:
        return True
    return ours[1].rpartition("/")[2] == theirs[1].rpartition("/")[2]


def _is_followed(announced: str, followed: str) -> bool:
    """``followed`` may be HEAD, which is some branch, or a commit, which nothing moves.

    >>> _is_followed("refs/heads/main", "refs/heads/main~1"), _is_followed("refs/tags/v1", "HEAD")
    (True, False)
    """
    name = _SUFFIX.sub("", followed)
    if name in ("", "HEAD"):
        return announced.startswith("refs/heads/")
    return announced == name
