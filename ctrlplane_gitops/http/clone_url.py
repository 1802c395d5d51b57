"""Clone URLs of repositories, however they are written."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from ctrlplane_gitops.value import struct

_SCP = re.compile(r"^(?:[^@/\s]+@)?([^/:\s]+):(?!//)(.+)$")


@struct
class CloneUrl:
    """``scheme`` is ``ssh`` for ``git@host:path``, "" for a path; ``host`` is "" for paths and
    ``file`` URLs; ``port`` is as it stands there. ``path`` is without slashes around it and without
    ``.git``."""

    scheme: str
    host: str
    port: int | None
    path: str


def parse_clone_url(location: str) -> CloneUrl:
    """What cannot be a URL is a path.

    >>> parse_clone_url("https://git.example.com:3000/acme/Prod.git/").path
    'acme/Prod'
    >>> parse_clone_url("git@example.com:acme/prod").host
    'example.com'
    """
    scp = None if "://" in location else _SCP.match(location)
    if scp:
        return CloneUrl("ssh", scp[1], None, _trim(scp[2]))
    try:
        parts = urlsplit(location)
        if not parts.scheme or "://" not in location:
            return CloneUrl("", "", None, _trim(location))
        return CloneUrl(parts.scheme, parts.hostname or "", parts.port, _trim(parts.path))
    except ValueError:
        return CloneUrl("", "", None, _trim(location))


def _trim(path: str) -> str:
    return "/".join(word for word in path.split("/") if word).removesuffix(".git")
