"""Quantities, durations and percentages as text, and back.

Rules: quantities as Kubernetes writes them (``500m`` cpu, ``256Mi`` memory), durations as Go
writes them without fractions below a millisecond (``1h30m``, ``500ms``) and days besides (``30d``),
percentages as ``25%``.
"""

from __future__ import annotations

import re
from datetime import timedelta
from functools import lru_cache

from ctrlplane_gitops.value import struct

# A repository says the same few quantities over and over.
_remembered = lru_cache(maxsize=1024)
_DECIMAL = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_BYTES = _DECIMAL | _BINARY
_CPU = re.compile(r"^(\d+(?:\.\d{1,3})?|\d+m)\Z", re.ASCII)
_SIZE = re.compile(r"^(\d+(?:\.\d+)?)(Ki|Mi|Gi|Ti|k|M|G|T|)\Z", re.ASCII)
_DURATION = re.compile(
    r"^(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+)s)?(?:(\d+)ms)?\Z", re.ASCII
)
_UNITS = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1))
_PERCENT = re.compile(r"^(\d{1,3})%\Z", re.ASCII)
_RATE = re.compile(r"^(\d{1,3}(?:\.\d{1,3})?)%\Z", re.ASCII)


def _scale(decimal: str, factor: int) -> int:
    """The whole part of the product, exactly. ``fractions`` would take a millisecond to import.

    >>> _scale("0.29", 100), _scale("1.5", 3)
    (29, 4)
    """
    whole, _, part = decimal.partition(".")
    return int(whole + part) * factor // int(f"1{'0' * len(part)}")


@_remembered
def parse_cpu(text: str) -> int:
    """Millicores; ValueError for anything else.

    >>> parse_cpu("500m"), parse_cpu("2"), parse_cpu("0.5")
    (500, 2000, 500)
    """
    if not _CPU.match(text):
        raise ValueError(f"{text!r} is not a cpu quantity such as '500m' or '2'")
    return int(text[:-1]) if text.endswith("m") else _scale(text, 1000)


@_remembered
def format_cpu(millicores: int) -> str:
    """The shortest text for millicores.

    >>> format_cpu(500), format_cpu(2000)
    ('500m', '2')
    """
    return f"{millicores // 1000}" if millicores % 1000 == 0 else f"{millicores}m"


@_remembered
def parse_bytes(text: str) -> int:
    """Bytes; ValueError for anything else.

    >>> parse_bytes("256Mi"), parse_bytes("1G")
    (268435456, 1000000000)
    """
    match = _SIZE.match(text)
    if not match:
        raise ValueError(f"{text!r} is not a size such as '256Mi' or '1Gi'")
    return _scale(match[1], _BYTES[match[2]])


@_remembered
def format_bytes(size: int) -> str:
    """The largest binary unit that divides ``size``, else plain bytes.

    >>> format_bytes(268435456), format_bytes(1000)
    ('256Mi', '1000')
    """
    for unit in ("Ti", "Gi", "Mi", "Ki"):
        if size and size % _BINARY[unit] == 0:
            return f"{size // _BINARY[unit]}{unit}"
    return str(size)


@_remembered
def parse_duration(text: str) -> timedelta:
    """A duration; ValueError for anything else.

    >>> parse_duration("1h30m"), parse_duration("500ms"), parse_duration("30d").days
    (datetime.timedelta(seconds=5400), datetime.timedelta(microseconds=500000), 30)
    """
    match = _DURATION.match(text)
    if not text or not match:
        raise ValueError(f"{text!r} is not a duration such as '30s', '5m' or '1h30m'")
    days, hours, minutes, seconds, millis = (int(part or 0) for part in match.groups())
    try:
        return timedelta(days, seconds, 0, millis, minutes, hours)
    except OverflowError:
        raise ValueError(f"{text!r} is too long a duration") from None


@_remembered
def format_duration(duration: timedelta) -> str:
    """The same duration as text.

    >>> [format_duration(timedelta(*part)) for part in ((0, 5400), (90,), ())]
    ['1h30m', '90d', '0s']
    """
    millis = round(duration.total_seconds() * 1000)
    parts = []
    for unit, size in _UNITS:
        amount, millis = divmod(millis, size)
        if amount:
            parts.append(f"{amount}{unit}")
    return "".join(parts) or "0s"


@struct
class CountOrPercent:
    """A number of replicas, or a share of them (``maxSurge: 25%``)."""

    value: int
    is_percent: bool = False

    def __str__(self) -> str:
        return f"{self.value}%" if self.is_percent else str(self.value)

    def of(self, replicas: int, *, round_up: bool) -> int:
        """The number of replicas meant.

        >>> CountOrPercent(25, is_percent=True).of(3, round_up=True)
        1
        >>> CountOrPercent(25, is_percent=True).of(3, round_up=False)
        0
        """
        if not self.is_percent:
            return self.value
        hundredths = replicas * self.value
        return -(-hundredths // 100) if round_up else hundredths // 100


def parse_percent(text: str) -> int:
    """0 to 100; ValueError for anything else.

    >>> parse_percent("20%")
    20
    """
    match = _PERCENT.match(text)
    if not match or int(match[1]) > 100:
        raise ValueError(f"{text!r} is not a percentage between 0% and 100%")
    return int(match[1])


def parse_rate(text: str) -> float:
    """A share from 0 to 1, written as a percentage with up to three places; ValueError for
    anything else.

    >>> parse_rate("5%"), parse_rate("0.5%")
    (0.05, 0.005)
    """
    match = _RATE.match(text)
    if not match or float(match[1]) > 100:
        raise ValueError(f"{text!r} is not a percentage such as '5%' or '0.5%'")
    return float(match[1]) / 100


def format_rate(rate: float) -> str:
    """The same share as a percentage, to three places.

    >>> format_rate(0.05), format_rate(0.2131579), format_rate(1.0)
    ('5%', '21.316%', '100%')
    """
    return f"{round(rate * 100, 3):.10g}%"


def parse_count_or_percent(value: int | str) -> CountOrPercent:
    """``2`` or ``25%``; ValueError for anything else.

    >>> str(parse_count_or_percent("25%")), str(parse_count_or_percent(2))
    ('25%', '2')
    """
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 0:
            raise ValueError(f"{value} is negative")
        return CountOrPercent(value)
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return CountOrPercent(int(value))
    return CountOrPercent(parse_percent(str(value)), is_percent=True)
