"""What an answer means, when to try again, and when to leave a receiver alone. Pure.

``chance``, from 0 to 1, takes up to half of a wait away, so that those who failed together do not
come back together.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from ctrlplane_gitops.state.notification import Attempt, MessageState
from ctrlplane_gitops.value import struct

MAX_ATTEMPTS = 12
_FIRST = timedelta(seconds=5)
_LONGEST = timedelta(hours=1)
_JITTER = 0.5
# A receiver that has failed so often in a row is asked with one message at a time, and rarely.
_TOLERATED = 3
_LONGEST_BREAK = timedelta(minutes=5)
_SECONDS = re.compile(r"[0-9]{1,9}")


def wait_after(attempts: int, chance: float) -> timedelta:
    """How long to wait after so many failed attempts: 5 s, doubling up to an hour.

    >>> [int(wait_after(n, 0).total_seconds()) for n in (1, 2, 3, 10, 11, 1000)]
    [5, 10, 20, 2560, 3600, 3600]
    >>> wait_after(2, 1).seconds
    5
    """
    return min(_LONGEST, _FIRST * (1 << min(attempts - 1, 16))) * (1 - _JITTER * chance)


def read_retry_after(text: str | None, now: datetime) -> timedelta | None:
    """What ``Retry-After`` asks for, from a second to an hour: seconds or a date (RFC 9110);
    None where it asks for nothing that can be read.

    >>> now = datetime(2026, 1, 1, tzinfo=UTC)
    >>> read_retry_after("120", now).seconds, read_retry_after("9999999", now).seconds
    (120, 3600)
    >>> read_retry_after("Thu, 01 Jan 2026 00:00:30 GMT", now).seconds
    30
    >>> read_retry_after("soon", now) is None
    True
    """
    if not text:
        return None
    if _SECONDS.fullmatch(text.strip()):
        asked = timedelta(seconds=int(text))
    else:
        from email.utils import parsedate_to_datetime

        try:
            at = parsedate_to_datetime(text)
        except ValueError:
            return None
        asked = (at if at.tzinfo else at.replace(tzinfo=UTC)) - now
    return max(timedelta(seconds=1), min(_LONGEST, asked))


def judge(
    status: int | None,
    error: str,
    attempts: int,
    now: datetime,
    chance: float,
    asked: timedelta | None = None,
) -> Attempt:
    """What came of an attempt. ``status`` is what was answered, None for no answer, and ``error``
    why not; ``attempts`` is how many there were before; ``asked`` what Retry-After asks for."""
    if status is not None and 200 <= status < 300:
        return Attempt(MessageState.DELIVERED, status)
    text = error if status is None else f"status {status}"
    if status == 410:
        return Attempt(MessageState.FAILED, status, text, is_gone=True)
    if attempts + 1 >= MAX_ATTEMPTS:
        return Attempt(MessageState.FAILED, status, text)
    wait = wait_after(attempts + 1, chance) if asked is None else asked
    return Attempt(MessageState.PENDING, status, text, now + wait)


@struct
class Circuit:
    """How a receiver does: how many attempts have failed in a row, and until when it is left alone
    for that (None: it is not)."""

    failures: int = 0
    until: datetime | None = None

    def is_open(self, now: datetime) -> bool:
        """Whether nothing is to be sent now."""
        return self.until is not None and now < self.until


def after_attempt(
    circuit: Circuit, attempt: Attempt, now: datetime, chance: float, asked: timedelta | None
) -> Circuit:
    """A receiver that answers is all right again at once."""
    if attempt.state is MessageState.DELIVERED:
        return Circuit()
    failures = circuit.failures + 1
    if asked is not None:
        return Circuit(failures, now + asked)
    if failures < _TOLERATED:
        return Circuit(failures)
    return break_off(circuit, now, chance)


def break_off(circuit: Circuit, now: datetime, chance: float) -> Circuit:
    """Leave it alone for a while, and longer each time."""
    failures = circuit.failures + 1
    wait = wait_after(max(1, failures - _TOLERATED + 1), chance)
    return Circuit(failures, now + min(_LONGEST_BREAK, wait))
