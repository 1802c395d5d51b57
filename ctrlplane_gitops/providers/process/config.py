"""What ``spec.providers.<alias>`` may say for ``type: process``."""

from __future__ import annotations

from dataclasses import dataclass

from ctrlplane_gitops.errors import UsageError
from ctrlplane_gitops.state.desired import ProviderConfig
from ctrlplane_gitops.units import parse_bytes

_DEFAULT_LOG_BYTES = 10 * 2**20


@dataclass(frozen=True, slots=True)
class ProcessConfig:
    """``log_bytes``: a replica's log is rotated once at this size, so it takes at most twice."""

    log_bytes: int = _DEFAULT_LOG_BYTES


def parse_config(config: ProviderConfig) -> ProcessConfig:
    """UsageError names an unknown option or a bad value.

    >>> parse_config(ProviderConfig("local", "process", {"maxLogSize": "1Mi"})).log_bytes
    1048576
    """
    for option in config.options:
        if option != "maxLogSize":
            raise UsageError(
                f"provider {config.alias!r} (process) has no option {option!r}",
                hint="known: maxLogSize",
            )
    if "maxLogSize" not in config.options:
        return ProcessConfig()
    try:
        return ProcessConfig(parse_bytes(str(config.options["maxLogSize"])))
    except ValueError as error:
        raise UsageError(f"provider {config.alias!r}: maxLogSize: {error}") from None
