"""When a message is tried again, and when a receiver is left alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ctrlplane_gitops.events.attempt import (
    MAX_ATTEMPTS,
    Circuit,
    after_attempt,
    break_off,
    judge,
    read_retry_after,
    wait_after,
)
from ctrlplane_gitops.state.notification import Attempt, MessageState

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_any_success_is_a_delivery(status: int) -> None:
    expected = Attempt(MessageState.DELIVERED, status)
    assert judge(status, "", 11, NOW, 0, timedelta(hours=1)) == expected


@pytest.mark.parametrize("status", [100, 301, 307, 400, 401, 404, 408, 429, 500, 503])
def test_anything_else_is_tried_again(status: int) -> None:
    expected = Attempt(MessageState.PENDING, status, f"status {status}", NOW + 5 * SECOND)
    assert judge(status, "", 0, NOW, 0) == expected


def test_no_answer_is_tried_again_with_its_reason() -> None:
    expected = Attempt(MessageState.PENDING, None, "connection refused", NOW + 20 * SECOND)
    assert judge(None, "connection refused", 2, NOW, 0) == expected


def test_the_receiver_may_say_when() -> None:
    assert judge(429, "", 0, NOW, 0, 70 * SECOND).next_at == NOW + 70 * SECOND


def test_gone_is_gone_at_once() -> None:
    expected = Attempt(MessageState.FAILED, 410, "status 410", is_gone=True)
    assert judge(410, "", 0, NOW, 0) == expected


def test_a_message_is_given_up_after_twelve_attempts_in_more_than_two_hours() -> None:
    waits, attempts, at = [], 0, NOW
    while True:
        attempt = judge(500, "", attempts, at, 0)
        attempts += 1
        if attempt.next_at is None:
            break
        waits.append(attempt.next_at - at)
        at = attempt.next_at
    assert (attempt.state, attempts) == (MessageState.FAILED, MAX_ATTEMPTS)
    assert waits[:3] == [5 * SECOND, 10 * SECOND, 20 * SECOND]
    assert timedelta(hours=2) < at - NOW < timedelta(hours=3)


@pytest.mark.parametrize("attempts", range(1, 20))
def test_chance_takes_at_most_half_away(attempts: int) -> None:
    assert wait_after(attempts, 1) * 2 == wait_after(attempts, 0) <= timedelta(hours=1)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 1),
        ("7", 7),
        (" 12 ", 12),
        ("86400", 3600),
        ("Thu, 01 Jan 2026 00:01:00 GMT", 60),
        ("Thu, 01 Jan 2026 00:01:00 -0000", 60),
        ("Mon, 01 Jan 2024 00:00:00 GMT", 1),
        ("-5", None),
        ("1.5", None),
        ("tomorrow", None),
        ("9" * 400, None),
        ("Thu, 99 Jan 2026 00:00:00 GMT", None),
        ("\N{ARABIC-INDIC DIGIT FIVE}", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_counts_within_bounds(text: str | None, seconds: int | None) -> None:
    expected = None if seconds is None else seconds * SECOND
    assert read_retry_after(text, NOW) == expected


FAILED = Attempt(MessageState.PENDING, 500, "status 500", NOW + SECOND)
DELIVERED = Attempt(MessageState.DELIVERED, 200)


def test_a_receiver_that_fails_again_and_again_is_left_alone_longer_and_longer() -> None:
    circuit, breaks = Circuit(), []
    for _ in range(12):
        circuit = after_attempt(circuit, FAILED, NOW, 0, None)
        breaks.append(None if circuit.until is None else (circuit.until - NOW) // SECOND)
    assert breaks == [None, None, 5, 10, 20, 40, 80, 160, 300, 300, 300, 300]
    assert circuit.is_open(NOW) and not circuit.is_open(NOW + 300 * SECOND)


def test_one_success_makes_up_for_all() -> None:
    circuit = break_off(break_off(Circuit(7), NOW, 0), NOW, 0)
    assert circuit.is_open(NOW)
    assert after_attempt(circuit, DELIVERED, NOW, 0, 9 * SECOND) == Circuit()


def test_a_receiver_that_asks_for_a_break_gets_it_at_once() -> None:
    assert after_attempt(Circuit(), FAILED, NOW, 0, 9 * SECOND) == Circuit(1, NOW + 9 * SECOND)


def test_where_nothing_could_be_sent_the_break_is_at_once_as_well() -> None:
    assert break_off(Circuit(), NOW, 0).until == NOW + 5 * SECOND
