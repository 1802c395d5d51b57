"""What ``spec.providers.<alias>`` may say for ``type: process``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ctrlplane_gitops.errors import UsageError
from ctrlplane_gitops.providers.process.port import DEFAULT_PORTS
from ctrlplane_gitops.state.desired import ProviderConfig
from ctrlplane_gitops.units import parse_bytes
from ctrlplane_gitops.value import struct

_DEFAULT_LOG_BYTES = 10 * 2**20


@struct
class ProcessConfig:
    """``log_bytes``: a replica's log is rotated once at this size, so it takes at most twice.
    ``ports``: where replicas' ports are taken from. ``is_grouped``: use control groups."""

    log_bytes: int = _DEFAULT_LOG_BYTES
    ports: range = DEFAULT_PORTS
    is_grouped: bool = True


def parse_config(config: ProviderConfig) -> ProcessConfig:
    """UsageError names an unknown option or a bad value.

    >>> parse_config(ProviderConfig("local", "process", {"maxLogSize": "1Mi"})).log_bytes
    1048576
    >>> parse_config(ProviderConfig("local", "process", {"ports": "7000-7099"})).ports
    range(7000, 7100)
    """
    found: dict[str, Any] = {}
    for option, value in config.options.items():
        if option not in _OPTIONS:
            raise UsageError(
                f"provider {config.alias!r} (process) has no option {option!r}",
                hint=f"known: {', '.join(sorted(_OPTIONS))}",
            )
        name, parse = _OPTIONS[option]
        try:
            found[name] = parse(value)
        except ValueError as error:
            raise UsageError(f"provider {config.alias!r}: {option}: {error}") from None
    return ProcessConfig(**found)


def _parse_log_size(value: object) -> int:
    return parse_bytes(str(value))


def _parse_ports(value: object) -> range:
    first, dash, last = str(value).partition("-")
    if not (dash and first.isdigit() and last.isdigit()):
        raise ValueError(f"{value!r} is not a range such as '20000-29999'")
    if not 0 < int(first) <= int(last) < 65536:
        raise ValueError(f"{value!r} is not within 1-65535")
    return range(int(first), int(last) + 1)


def _parse_cgroups(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} is not true or false")
    return value


_OPTIONS: dict[str, tuple[str, Callable[[object], Any]]] = {
    "cgroups": ("is_grouped", _parse_cgroups),
    "maxLogSize": ("log_bytes", _parse_log_size),
    "ports": ("ports", _parse_ports),
}
