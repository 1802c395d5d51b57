"""Values as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from ctrlplane_gitops.clock import rfc3339


def as_json(value: Any) -> Any:
    """A value of ours as JSON values: fields by their names, times as RFC 3339, durations as
    seconds.

    >>> from ctrlplane_gitops.status.row import Use
    >>> as_json({"cpu": Use(1, None), "at": ()})
    {'cpu': {'used': 1, 'limit': None}, 'at': []}
    """
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, str):
        return value
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Mapping):
        return {str(name): as_json(item) for name, item in value.items()}
    if isinstance(value, (tuple, list)) and not hasattr(value, "__match_args__"):
        return [as_json(item) for item in value]
    return {name: as_json(getattr(value, name)) for name in value.__match_args__}
