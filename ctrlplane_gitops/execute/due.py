"""Calls that are made again and again, each when it is due, and those of them under way."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future
from datetime import datetime
from typing import Any, Protocol, TypeVar

Result = TypeVar("Result")


class Recurring(Protocol[Result]):
    """``due`` is when it is made next, once what is ``running`` has been taken in."""

    due: datetime
    running: Future[Result] | None


def find_running(items: Iterable[Recurring[Result]]) -> list[Future[Result]]:
    return [item.running for item in items if item.running is not None]


def find_next_due(items: Iterable[Recurring[Any]]) -> datetime | None:
    """When the first of those is that are not under way; None where there are none."""
    return min((item.due for item in items if item.running is None), default=None)
