"""What is computed of samples."""

from __future__ import annotations

import pytest

from tests.load.report import KEPT, NEW, SLOW, Report, Sample, Shape


def sample(due_s: float, took_s: float = 0.01, **more: object) -> Sample:
    values = {
        "due_s": due_s, "sent_s": due_s, "ended_s": due_s + took_s, "mode": KEPT, "method": "GET",
        "status": 200, "version": "1", "replica": "r", "reason": "",
    }  # fmt: skip
    return Sample(**{**values, **more})  # type: ignore[arg-type]


def test_latency_counts_from_when_a_request_was_due() -> None:
    late = sample(1.0, 0.5, sent_s=1.4)
    assert late.latency_s == pytest.approx(0.5) and late.lateness_s == pytest.approx(0.4)


def test_percentiles_are_of_fast_requests_that_were_answered() -> None:
    fast = [sample(number, (number + 1) / 1000) for number in range(100)]
    others = [sample(0, 3, mode=SLOW), sample(0, 10, status=0, reason="timeout", mode=NEW)]
    report = Report((*fast, *others))
    assert report.latency_ms(0.5) == pytest.approx(50)
    assert report.latency_ms(0.99) == pytest.approx(99)
    assert report.latency_ms(1) == pytest.approx(100)
    assert report.latency_ms(1, (SLOW,)) == pytest.approx(3000)
    assert Report(()).latency_ms(0.99) == 0


def test_a_share_between_two_times_counts_errors_of_the_application_too() -> None:
    before = [sample(number) for number in range(10)]
    during = [sample(10 + number) for number in range(8)]
    canary = [
        sample(18, version="2"),
        sample(19, version="2", status=500, reason="status 500"),
        sample(19.5, version="", status=0, reason="timeout"),
    ]
    report = Report((*before, *during, *canary))
    assert report.between(10, 20).share("2") == pytest.approx(0.2)
    assert report.between(0, 10).share("2") == 0
    assert (report.first_due_s("2"), report.last_due_s("2"), report.last_due_s("1")) == (18, 19, 17)
    assert report.versions == {"1": 18, "2": 1}
    assert report.reasons == {"status 500": 1, "timeout": 1}
    with pytest.raises(ValueError):
        report.first_due_s("3")


def test_a_summary_says_what_failed_first_and_when() -> None:
    text = Report((sample(5), sample(7.25, reason="timeout", status=0, mode=NEW))).summary()
    assert text.startswith("2 requests (kept:1 new:1), 1 failed;")
    assert text.endswith("\n  1 x timeout (new:1), first after 2.250 s")
    assert "0 requests (none)" in Report(()).summary()


def test_what_passes_between_the_processes_comes_back_as_it_was() -> None:
    shape = Shape(rate=7, headers=(("X-Canary", "yes"),))
    assert Shape.from_json(shape.to_json()) == shape
    assert Sample.from_line(sample(1.5).to_line()) == sample(1.5)
