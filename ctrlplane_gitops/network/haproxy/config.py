"""What ``spec.router`` may say for ``type: haproxy``."""

from __future__ import annotations

import re
from pathlib import Path

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
_OWN = ("config", "directory", "masterSocket", "reload", "socket")
_OPTIONS = (*_OWN, "binary", "entryPoints", "managed")
_MISSING = {
    "directory": "with managed: false say which directory your HAProxy loads last (-f DIRECTORY)",
    "entryPoints": 'say where we shall listen in it, for example entryPoints: {web: ":8080"}',
    "masterSocket": "start your HAProxy with -W -S /run/haproxy-master.sock and name it here",
    "socket": "add `stats socket /run/haproxy/admin.sock level admin` to its global section and"
    " name it here",
}
_EXAMPLES = {"config": "[/etc/haproxy/haproxy.cfg]", "reload": "[systemctl, reload, haproxy]"}
# What needs no quoting in a configuration, the arguments of its converters included.
_PLAIN_PATH = re.compile(r"/[A-Za-z0-9._/@+-]*")


@struct
class OwnConfig:
    """A HAProxy the user runs. ``directory`` is where it loads our part of its configuration from,
    ``socket`` its stats socket, ``master`` the socket of its master process. ``files`` are the
    user's own configuration, to check ours with. ``reload`` is a command, empty for the master's
    own."""

    directory: Path
    socket: Path
    master: Path
    files: tuple[Path, ...] = ()
    reload: tuple[str, ...] = ()


@struct
class HaproxyConfig:
    """``binary`` is where the program is, None to look for it on the PATH. ``own`` is None where
    we start it."""

    entry_points: tuple[EntryPoint, ...]
    binary: str | None = None
    own: OwnConfig | None = None

    @property
    def tls_by_name(self) -> dict[str, bool]:
        return {point.name: point.is_tls for point in self.entry_points}


def parse_config(options: Json) -> HaproxyConfig:
    """UsageError names an unknown option or a bad value.

    >>> parse_config({"entryPoints": {"web": ":8080"}}).own is None
    True
    """
    check_options(NAME, options, _OPTIONS)
    points, binary = parse_entry_points(NAME, options), parse_text(NAME, options, "binary")
    if not parse_flag(NAME, options, "managed", True):
        return HaproxyConfig(points, binary, _parse_own(options))
    for name in _OWN:
        if name in options:
            raise UsageError(
                f"router ({NAME}): {name} has no meaning with managed: true",
                hint="it is about a HAProxy that you run yourself: add managed: false",
            )
    return HaproxyConfig(points, binary)


def _parse_own(options: Json) -> OwnConfig:
    for name, hint in _MISSING.items():
        if options.get(name) is None:
            raise UsageError(f"router ({NAME}): {name} is missing", hint=hint)
    directory, socket, master = (
        _parse_path(name, options[name]) for name in ("directory", "socket", "masterSocket")
    )
    if socket == master:
        raise UsageError(
            f"router ({NAME}): socket and masterSocket are one", hint=_MISSING["masterSocket"]
        )
    files = _parse_list("config", options)
    return OwnConfig(
        directory,
        socket,
        master,
        tuple(_parse_path("config", item) for item in files),
        _parse_list("reload", options),
    )


def _parse_path(name: str, value: object) -> Path:
    if not isinstance(value, str) or not _PLAIN_PATH.fullmatch(value):
        raise UsageError(
            f"router ({NAME}): {name} {value!r} is not an absolute path",
            hint="of letters, digits and ._/@+- alone, for it stands in the configuration as it is",
        )
    return Path(value)


def _parse_list(name: str, options: Json) -> tuple[str, ...]:
    value = options.get(name)
    if value is None:
        return ()
    is_list = isinstance(value, list | tuple) and bool(value)
    if not is_list or not all(isinstance(item, str) and item for item in value):
        raise UsageError(
            f"router ({NAME}): {name} is not a list of texts",
            hint=f"for example {name}: {_EXAMPLES[name]}",
        )
    return tuple(value)
