"""What ``spec.router`` may say for ``type: haproxy``."""

from __future__ import annotations

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

NAME = "haproxy"
_OPTIONS = ("binary", "entryPoints", "managed")


@struct
class HaproxyConfig:
    """``binary`` is where the program is, None to look for it on the PATH."""

    entry_points: tuple[EntryPoint, ...]
    binary: str | None = None

    @property
    def tls_by_name(self) -> dict[str, bool]:
        return {point.name: point.is_tls for point in self.entry_points}


def parse_config(options: Json) -> HaproxyConfig:
    """UsageError names an unknown option or a bad value.

    >>> parse_config({"entryPoints": {"web": ":8080"}}).binary is None
    True
    """
    check_options(NAME, options, _OPTIONS)
    if not parse_flag(NAME, options, "managed", True):
        raise UsageError(
            f"router ({NAME}): one that is not started by us cannot be told its routes",
            hint="leave `managed` out, or use type: traefik, which can be your own",
        )
    return HaproxyConfig(parse_entry_points(NAME, options), parse_text(NAME, options, "binary"))
