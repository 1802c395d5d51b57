"""Where a repository is: a path of this machine, or a URL over https or ssh."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

from ctrlplane_gitops.errors import SourceError
from ctrlplane_gitops.source.command import scrub
from ctrlplane_gitops.value import struct

TOKEN_VARIABLE = "CTRLPLANE_GIT_TOKEN"
HEAD_REF = "refs/ctrlplane/HEAD"  # what the mirror calls the HEAD of a URL
_HELPER = re.compile(r"^[A-Za-z0-9_+.-]+::")
_SCP = re.compile(r"^(?:[A-Za-z0-9_.-]+@)[A-Za-z0-9][A-Za-z0-9_.-]*:(?!-)[^\s:]+$")
_HOST = re.compile(r"^[A-Za-z0-9\[][A-Za-z0-9_.:\]-]*$")


@struct
class RemoteUrl:
    """``url`` carries no credential. ``protocol`` is ``https``, ``ssh`` or ``file``; ``origin`` is
    the part credentials of https belong to (``https://example.com/``), else empty."""

    url: str
    protocol: str
    origin: str = ""


def parse_location(location: str, *, allow_file: bool) -> Path | RemoteUrl:
    """A path or a URL; SourceError for a URL of another kind or with a credential in it.

    >>> parse_location("git@example.com:acme/specs.git", allow_file=False).protocol
    'ssh'
    """
    if any(ord(char) < 32 or ord(char) == 127 for char in location) or not location:
        raise SourceError("the location of the repository is empty or has control characters")
    if _HELPER.match(location):
        raise _refusal(location, "remote helpers may run any program")
    if "://" in location:
        return _parse_url(location, allow_file=allow_file)
    if _SCP.match(location) and not Path(location).exists():
        return RemoteUrl(location, "ssh")
    return Path(location)


def _parse_url(location: str, *, allow_file: bool) -> RemoteUrl:
    try:
        parts = urlsplit(location)
        host, port, user = parts.hostname or "", parts.port, parts.username
        has_password = parts.password is not None
    except ValueError:
        raise SourceError(f"{scrub(location)!r} is not a URL") from None
    if parts.scheme == "file":
        if not allow_file:
            raise _refusal(location, "file URLs are not allowed here")
        return RemoteUrl(location, "file")
    if parts.scheme not in ("https", "ssh"):
        raise _refusal(location, f"{parts.scheme!r} is not allowed")
    # A user in an https URL is a token as often as a name.
    if has_password or (user is not None and parts.scheme == "https"):
        raise SourceError(
            f"the URL {scrub(location)} has a credential in it",
            hint=f"remove it from the URL and set {TOKEN_VARIABLE} in the environment",
        )
    if not _HOST.match(host) or (user or "").startswith("-"):
        raise SourceError(f"the URL {scrub(location)} names no host")
    shown = f"[{host}]" if ":" in host else host
    origin = f"https://{shown}{f':{port}' if port else ''}/" if parts.scheme == "https" else ""
    return RemoteUrl(location, parts.scheme, origin)


def _refusal(location: str, why: str) -> SourceError:
    return SourceError(
        f"the repository {scrub(location)!r} is refused: {why}",
        hint="use a path, https://host/path, ssh://host/path or git@host:path",
    )
