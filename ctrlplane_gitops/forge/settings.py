"""Which forge is told, from the environment and the URL that is followed."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from ctrlplane_gitops.errors import UsageError
from ctrlplane_gitops.forge.base import ForgeKind, ForgeSettings
from ctrlplane_gitops.http.clone_url import CloneUrl, parse_clone_url
from ctrlplane_gitops.redact import SecretValue

_HOSTS = {
    "github.com": ForgeKind.GITHUB,
    "gitlab.com": ForgeKind.GITLAB,
    "codeberg.org": ForgeKind.FORGEJO,
}
_BASES = {
    ForgeKind.GITHUB: "/api/v3",
    ForgeKind.GITLAB: "/api/v4",
    ForgeKind.GITEA: "/api/v1",
    ForgeKind.FORGEJO: "/api/v1",
}
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_KINDS = ", ".join(kind.value for kind in ForgeKind)


def load_forge(environ: Mapping[str, str], location: str) -> ForgeSettings | None:
    """The forge of the repository at ``location``, a clone URL; None without a token for it.
    UsageError, which names the variable, for what cannot be told or must not be."""
    token = environ.get("CTRLPLANE_FORGE_TOKEN", "").strip()
    if not token:
        return None
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise UsageError("CTRLPLANE_FORGE_TOKEN has characters that no token has")
    url = parse_clone_url(location)
    if not url.host or "/" not in url.path:
        raise UsageError(
            f"CTRLPLANE_FORGE_TOKEN is set, and {location} is not at a forge",
            hint="set CTRLPLANE_FORGE_URL to the URL of the repository there",
        )
    kind = _find_kind(environ.get("CTRLPLANE_FORGE", ""), url.host)
    api = environ.get("CTRLPLANE_FORGE_API") or _find_api(kind, url)
    _check_api(api)
    is_whole = kind is ForgeKind.GITLAB
    path = url.path if is_whole else "/".join(url.path.split("/")[-2:])
    return ForgeSettings(kind, api.rstrip("/"), path, SecretValue(token.encode()))


def _find_kind(said: str, host: str) -> ForgeKind:
    if said:
        try:
            return ForgeKind(said)
        except ValueError:
            raise UsageError(f"CTRLPLANE_FORGE: {said!r} is not one of {_KINDS}") from None
    name = host.casefold()
    if name in _HOSTS:
        return _HOSTS[name]
    # As gitlab.example.com.
    try:
        return ForgeKind(name.partition(".")[0])
    except ValueError:
        raise UsageError(
            f"CTRLPLANE_FORGE_TOKEN is set, and nothing says what kind of forge {host} is",
            hint=f"set CTRLPLANE_FORGE to one of {_KINDS}",
        ) from None


def _find_api(kind: ForgeKind, url: CloneUrl) -> str:
    """
    >>> _find_api(ForgeKind.GITHUB, parse_clone_url("git@github.com:acme/prod.git"))
    'https://api.github.com'
    >>> _find_api(ForgeKind.GITEA, parse_clone_url("https://git.example.com:3000/acme/prod"))
    'https://git.example.com:3000/api/v1'
    """
    if url.host.casefold() == "github.com":
        return "https://api.github.com"
    host = f"[{url.host}]" if ":" in url.host else url.host
    # The port of ssh is not that of the API.
    port = f":{url.port}" if url.port and url.scheme == "https" else ""
    return f"https://{host}{port}{_BASES[kind]}"


def _check_api(api: str) -> None:
    try:
        parts = urlsplit(api)
        host, is_odd = parts.hostname or "", bool(parts.query or parts.fragment or parts.username)
    except ValueError:
        host, is_odd = "", True
    if is_odd or not host or parts.scheme not in ("http", "https"):
        raise UsageError("CTRLPLANE_FORGE_API is not the URL of an API")
    if parts.scheme == "http" and host not in _LOOPBACK:
        raise UsageError(
            "CTRLPLANE_FORGE_API: the token would go over the network in clear",
            hint="give an https URL",
        )
