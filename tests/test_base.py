"""Clock, units, ids, redaction, diagnostics, events: what their examples do not show."""

import os
import pickle
import threading
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctrlplane_gitops.clock import FakeClock, SystemClock, parse_rfc3339, rfc3339
from ctrlplane_gitops.diagnostics import (
    Origin,
    did_you_mean,
    error,
    has_errors,
    sort_diagnostics,
    warning,
)
from ctrlplane_gitops.events.event import EventType, make_event
from ctrlplane_gitops.ids import IdPrefix, new_id, parse_id
from ctrlplane_gitops.redact import MASK, Redactor, SecretValue, one_line, printable
from ctrlplane_gitops.units import (
    CountOrPercent,
    format_bytes,
    format_cpu,
    format_duration,
    parse_bytes,
    parse_count_or_percent,
    parse_cpu,
    parse_duration,
    parse_percent,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


# Clock


def test_a_clock_that_is_woken_does_not_wait() -> None:
    event = threading.Event()
    event.set()
    clock = FakeClock(NOW)
    assert clock.wait(event, SECOND) is True
    assert clock.now() == NOW
    assert SystemClock().wait(event, SECOND) is True
    assert SystemClock().wait(threading.Event(), -SECOND) is False


def test_a_fake_clock_never_goes_back() -> None:
    clock = FakeClock(NOW)
    assert clock.wait(threading.Event(), -SECOND) is False
    assert clock.now() == NOW


@given(
    st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))])).map(
        lambda at: at.replace(microsecond=at.microsecond // 1000 * 1000)
    )
)
def test_a_time_comes_back_from_its_text(at: datetime) -> None:
    # The first and last days of the calendar cannot be moved to another zone.
    if 1 < at.year < 9999:
        assert parse_rfc3339(rfc3339(at)) == at
        assert rfc3339(at).endswith("Z")


def test_a_time_without_a_zone_is_none() -> None:
    with pytest.raises(ValueError, match="has no time zone"):
        parse_rfc3339("2026-03-01T12:00:00")


# Units


@given(st.integers(0, 2**50))
def test_quantities_come_back_from_their_text(number: int) -> None:
    assert parse_bytes(format_bytes(number)) == number
    assert parse_cpu(format_cpu(number)) == number
    duration = timedelta(milliseconds=number % 10**12)
    assert parse_duration(format_duration(duration)) == duration


@pytest.mark.parametrize(
    "text", ["", "-1", "1.5m", "0.0001", "1e3", " 1", "1 ", "m", "1Mi", "1\n", "٣"]
)
def test_what_is_no_cpu_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a cpu quantity"):
        parse_cpu(text)


@pytest.mark.parametrize("text", ["", "-1", "1KiB", "1K", "1m", " 1Mi", "1 Mi", "Mi", "1Mi\n"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_bytes(text)


@pytest.mark.parametrize("text", ["", "5", "1m1h", "1.5h", "-1s", "1d1w", "1h1d", " 1s", "1s\n"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


def test_a_duration_past_all_bounds_is_refused_and_not_a_crash() -> None:
    with pytest.raises(ValueError, match="too long a duration"):
        parse_duration("9" * 20 + "h")


@pytest.mark.parametrize("text", ["101%", "-1%", "5", "5.5%", "%", "5%\n"])
def test_what_is_no_percentage_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a percentage"):
        parse_percent(text)


@pytest.mark.parametrize("value", [-1, True, "x", "-1", "²", "٣"])
def test_what_is_no_count_is_refused(value: int | str) -> None:
    with pytest.raises(ValueError, match=r"is (negative|not a percentage)"):
        parse_count_or_percent(value)


@given(st.integers(0, 100), st.integers(0, 1000))
def test_a_share_is_rounded_as_asked_and_never_more_than_all(share: int, replicas: int) -> None:
    part = CountOrPercent(share, is_percent=True)
    low, high = part.of(replicas, round_up=False), part.of(replicas, round_up=True)
    assert 0 <= low <= high <= min(low + 1, replicas)
    assert CountOrPercent(share).of(replicas, round_up=True) == share


# Ids


def test_a_child_makes_other_ids_than_its_parent() -> None:
    new_id(IdPrefix.EVENT, NOW)
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.write(writer, "".join(new_id(IdPrefix.EVENT, NOW) for _ in range(70)).encode())
        os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(reader, 65536).decode()
    ours = [new_id(IdPrefix.EVENT, NOW) for _ in range(70)]
    assert len(set(ours)) == 70 and not any(item in theirs for item in ours)
    os.close(reader)
    os.close(writer)


def test_ids_sort_by_time_and_come_back() -> None:
    times = [NOW + timedelta(milliseconds=number) for number in range(50)]
    found = [new_id(IdPrefix.EVENT, at) for at in times]
    assert found == sorted(found) and len(set(found)) == 50
    assert all(parse_id(item, IdPrefix.EVENT) == item for item in found)


@pytest.mark.parametrize("change", [str.lower, lambda text: text[:-1], lambda text: text + "0"])
def test_an_id_that_was_changed_is_none(change: object) -> None:
    assert callable(change)
    with pytest.raises(ValueError, match="is not an id of kind 'evt'"):
        parse_id(change(new_id(IdPrefix.EVENT, NOW)), IdPrefix.EVENT)


# Redaction


def test_a_secret_shows_in_no_form_of_text() -> None:
    value = SecretValue(b"hunter22")
    texts = [repr(value), str(value), f"{value}", f"{value:>40}", f"{[value]}", f"{value!r}"]
    assert not [text for text in texts if "hunter" in text]
    assert value.reveal() == b"hunter22"
    with pytest.raises(TypeError):
        pickle.dumps(value)


def test_equal_secrets_have_equal_digests_under_one_salt_only() -> None:
    first, second = SecretValue(b"hunter22"), SecretValue(b"hunter22")
    assert first == second and hash(first) == hash(second)
    assert first.digest("a") == second.digest("a") != second.digest("b")
    assert first.digest("a") != SecretValue(b"hunter23").digest("a")


def test_the_longest_secret_is_masked_first_and_short_ones_never() -> None:
    redactor = Redactor([SecretValue(b"pass"), SecretValue(b"password1"), SecretValue(b"abc")])
    assert redactor.scrub("password1 pass abc") == f"{MASK} {MASK} abc"


def test_a_secret_from_a_file_is_masked_without_its_last_line_end_too() -> None:
    redactor = Redactor()
    redactor.add([SecretValue(b"hunter22\n")])
    assert redactor.scrub("got hunter22, sent hunter22\n") == f"got {MASK}, sent {MASK}"


@given(st.text())
def test_what_is_printed_steers_nothing(text: str) -> None:
    shown = printable(text)
    assert all(char == "\n" or char.isprintable() for char in shown)
    assert shown.count("\n") == text.count("\n")
    assert "\n" not in one_line(text) and one_line(text).isprintable()
    assert printable(shown) == shown


# Diagnostics


def test_a_diagnostic_says_place_cause_and_way_out() -> None:
    item = error("bad", "it is bad", origin=Origin("a.yaml", 3, 5), hint="mend it")
    assert item.render() == "a.yaml:3:5: error: it is bad [bad]\n    mend it"
    assert warning("odd", "x", address="tenant/a").render() == "tenant/a: warning: x [odd]"
    assert warning("odd", "x").render() == "warning: x [odd]"


def test_what_a_diagnostic_quotes_does_not_pass_for_a_line() -> None:
    item = error("bad", "one\ntwo", hint="three\r\nfour")
    assert item.render() == "error: one two [bad]\n    three four"


@pytest.mark.parametrize(
    ("origin", "text"), [(Origin("a"), "a"), (Origin("a", 3), "a:3"), (Origin("a", 3, 5), "a:3:5")]
)
def test_a_place_is_as_exact_as_it_is_known(origin: Origin, text: str) -> None:
    assert str(origin) == text


def test_diagnostics_come_in_one_order_and_once() -> None:
    items = [
        error("b", "x", origin=Origin("b.yaml", 1)),
        error("z", "x", origin=Origin("a.yaml", 10)),
        error("a", "x", origin=Origin("a.yaml", 10)),
        warning("w", "x"),
        error("z", "x", origin=Origin("a.yaml", 2)),
    ]
    expected = [("w", 0), ("z", 2), ("a", 10), ("z", 10), ("b", 1)]
    for order in (items, items[::-1], [*items, *items]):
        found = sort_diagnostics(order)
        assert [(item.code, item.origin.line if item.origin else 0) for item in found] == expected


def test_warnings_are_no_errors() -> None:
    assert not has_errors([warning("w", "x")])
    assert has_errors([warning("w", "x"), error("e", "x")])


def test_among_many_words_nothing_close_is_nothing() -> None:
    assert did_you_mean("zzz", [f"word{number}" for number in range(13)]) == ""
    assert did_you_mean("zzz", []) == ""


# Events


@pytest.mark.parametrize("type", EventType)
def test_an_event_has_an_id_and_keeps_what_it_was_told(type: EventType) -> None:
    data = {"release": "1"}
    event = make_event(type, NOW, "instance/acme/web", "x", data)
    data["release"] = "2"
    assert parse_id(event.id, IdPrefix.EVENT)
    assert (event.type, event.at, event.data) == (type.value, NOW, {"release": "1"})
    subject, _, what = event.type.partition(".")
    assert subject.isalpha() and what.isalpha()
