"""Quantities as Kubernetes writes them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from ctrlplane_gitops.state.desired import Resources
from ctrlplane_gitops.units import format_cpu

_QUANTITY = re.compile(r"^([+-]?[0-9.]+)(?:([eE][+-]?\d+)|([numkMGTPE]|[KMGTPE]i)?)\Z")
_DECIMAL = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}


def read_quantity(text: Any) -> Decimal | None:
    """The number; None for what is none.

    >>> read_quantity("500m"), read_quantity("1Ki"), read_quantity("1e3"), read_quantity("x")
    (Decimal('0.500'), Decimal('1024'), Decimal('1E+3'), None)
    """
    found = _QUANTITY.match(str(text))
    if found is None:
        return None
    number, exponent, suffix = found.groups()
    try:
        value = Decimal(number + (exponent or ""))
    except ArithmeticError:
        return None
    if suffix in _BINARY:
        return value * Decimal(2 ** _BINARY[suffix])
    return value.scaleb(_DECIMAL[suffix]) if suffix else value


def read_limits(limits: Mapping[str, Any]) -> Resources:
    """What ``resources.limits`` of a container says.

    >>> read_limits({"cpu": "1500m", "memory": "64Mi"})
    Resources(cpu_millicores=1500, memory_bytes=67108864)
    """
    cpu, memory = read_quantity(limits.get("cpu")), read_quantity(limits.get("memory"))
    return Resources(
        None if cpu is None else int(cpu * 1000), None if memory is None else int(memory)
    )


def write_limits(resources: Resources) -> dict[str, Any]:
    """``resources`` of a container: what is a limit is requested as well.

    >>> write_limits(Resources(cpu_millicores=500))
    {'limits': {'cpu': '500m'}, 'requests': {'cpu': '500m'}}
    """
    limits = {}
    if resources.cpu_millicores is not None:
        limits["cpu"] = format_cpu(resources.cpu_millicores)
    if resources.memory_bytes is not None:
        limits["memory"] = str(resources.memory_bytes)
    return {"limits": limits, "requests": dict(limits)} if limits else {}
