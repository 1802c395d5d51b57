"""What ``spec.router`` may say for ``type: traefik``."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from ctrlplane_gitops.errors import UsageError
from ctrlplane_gitops.network.options import (
    EntryPoint,
    check_options,
    parse_entry_points,
    parse_flag,
    parse_text,
)
from ctrlplane_gitops.state.desired import Json
from ctrlplane_gitops.value import struct

NAME = "traefik"
_OPTIONS = ("api", "binary", "directory", "entryPoints", "managed", "metrics")
# The entry point its API answers at, by Traefik's own convention.
API_ENTRY_POINT = "traefik"


@struct
class TraefikConfig:
    """``binary`` is where the program is, None to look for it. When it is the user's own
    (``is_managed`` false), ``directory`` is what its file provider watches, ``api`` and
    ``metrics`` are where it answers, and ``entry_points`` say what it has."""

    entry_points: tuple[EntryPoint, ...]
    binary: str | None = None
    is_managed: bool = True
    directory: Path | None = None
    api: str | None = None
    metrics: str | None = None

    @property
    def tls_by_name(self) -> dict[str, bool]:
        return {point.name: point.is_tls for point in self.entry_points}


def parse_config(options: Json) -> TraefikConfig:
    """UsageError names an unknown option or a bad value.

    >>> parse_config({"entryPoints": {"web": ":8080"}}).is_managed
    True
    """
    check_options(NAME, options, _OPTIONS)
    points = parse_entry_points(NAME, options)
    if API_ENTRY_POINT in {point.name for point in points}:
        raise UsageError(f"router ({NAME}): the entry point {API_ENTRY_POINT!r} is its API's")
    texts = {
        name: parse_text(NAME, options, name) for name in ("api", "binary", "directory", "metrics")
    }
    is_managed = parse_flag(NAME, options, "managed", True)
    for name in ("directory", "api"):
        if not is_managed and texts[name] is None:
            raise UsageError(
                f"router ({NAME}): {name} is missing",
                hint="with managed: false say which directory your Traefik watches, and its API",
            )
    for name in ("directory", "api", "metrics") if is_managed else ("binary",):
        if texts[name] is not None:
            raise UsageError(
                f"router ({NAME}): {name} has no meaning with managed: {str(is_managed).lower()}"
            )
    directory = texts["directory"]
    if directory is not None and not Path(directory).is_absolute():
        raise UsageError(f"router ({NAME}): directory {directory!r} is not absolute")
    return TraefikConfig(
        points,
        texts["binary"],
        is_managed,
        None if directory is None else Path(directory),
        _parse_url("api", texts["api"]),
        _parse_url("metrics", texts["metrics"]),
    )


def _parse_url(name: str, value: str | None) -> str | None:
    if value is None:
        return None
    try:
        parts = urlsplit(value)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_url = False
    if not is_url or parts.username is not None:
        raise UsageError(
            f"router ({NAME}): {name} is not a URL without credentials",
            hint=f"for example {name}: http://127.0.0.1:8081",
        )
    return value.rstrip("/")
