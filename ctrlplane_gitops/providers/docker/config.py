"""What ``spec.providers.<alias>`` may say for ``type: docker``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ctrlplane_gitops.errors import UsageError
from ctrlplane_gitops.state.desired import ProviderConfig
from ctrlplane_gitops.units import parse_duration
from ctrlplane_gitops.value import struct

DEFAULT_HOST = "unix:///var/run/docker.sock"
LOOPBACK = "127.0.0.1"
_OPTIONS = ("host", "timeout", "publishAddress", "restart")
_SCHEMES = ("unix://", "tcp://", "http://", "https://")
_RESTARTS = {"never": "no", "unless-stopped": "unless-stopped"}


@struct
class DockerConfig:
    """``host`` is the engine's address. ``timeout_s`` is how long one answer may take.

    ``publish_address`` is the engine's interface every port is published on, and where replicas
    are then reached: loopback, unless the engine is another machine.

    ``restart_policy`` is Docker's. It is ``no`` unless asked otherwise, for a replica the engine
    restarts by itself comes back on another host port, where no route leads before the next pass,
    and after a reboot without its secret files, which lie on a tmpfs. The pass repairs both, by
    replacing it. ``restart: unless-stopped`` is for those who have no ``serve`` running.
    """

    host: str = DEFAULT_HOST
    timeout_s: float = 60.0
    publish_address: str = LOOPBACK
    restart_policy: str = "no"

    @property
    def is_local(self) -> bool:
        """Whether the engine is taken to share this machine's file system."""
        return self.host.startswith("unix://")


def parse_config(config: ProviderConfig, environ: Mapping[str, str] = os.environ) -> DockerConfig:
    """UsageError names an unknown option or a bad value.

    >>> parse_config(ProviderConfig("d", "docker"), {"DOCKER_HOST": "unix:///run/d.sock"}).host
    'unix:///run/d.sock'
    """
    who, options = f"provider {config.alias!r} (docker)", config.options
    for option in options:
        if option not in _OPTIONS:
            from difflib import get_close_matches

            close = get_close_matches(option, _OPTIONS, 1)
            meant = f"did you mean {close[0]!r}? " if close else ""
            raise UsageError(
                f"{who} has no option {option!r}", hint=f"{meant}known: {', '.join(_OPTIONS)}"
            )
    host = str(options.get("host") or environ.get("DOCKER_HOST") or DEFAULT_HOST)
    if not host.startswith(_SCHEMES):
        raise UsageError(
            f"{who}: host {host!r} is no engine's address", hint=f"for example {DEFAULT_HOST}"
        )
    restart = str(options.get("restart", "never"))
    if restart not in _RESTARTS:
        raise UsageError(f"{who}: restart is {restart!r}", hint=f"known: {', '.join(_RESTARTS)}")
    try:
        timeout_s = _seconds(options.get("timeout", "60s"))
        address = _address(options.get("publishAddress"))
    except ValueError as error:
        raise UsageError(f"{who}: {error}") from None
    return DockerConfig(host, timeout_s, address, _RESTARTS[restart])


def _address(value: Any) -> str:
    if value is None:
        return LOOPBACK
    from ipaddress import ip_address

    return str(ip_address(str(value)))


def _seconds(value: Any) -> float:
    seconds = parse_duration(str(value)).total_seconds()
    if seconds <= 0:
        raise ValueError(f"timeout {value!r} is not positive")
    return seconds
