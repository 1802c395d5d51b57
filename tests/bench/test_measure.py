"""What the words of the table mean."""

from __future__ import annotations

import pytest

from tests.bench.measure import Run, Samples, Verdict, drift_of, run_process


@pytest.mark.parametrize(
    ("value", "bar", "drift", "word"),
    [
        (1.0, 1.1, 1.0, "pass"),
        (1.2, 1.1, 1.2, "FAIL"),
        (1.0, 1.1, 1.3, "noisy"),
        (1.2, 1.1, 1.3, "noisy"),
        (None, 1.1, 1.0, "skipped"),
        (1.0, None, 1.3, ""),
    ],
)
def test_nothing_is_said_of_a_bar_when_the_control_moved(
    value: float | None, bar: float | None, drift: float, word: str
) -> None:
    assert Verdict("1a", "", value, bar, drift=drift).word == word


def test_the_drift_of_a_machine_has_no_direction() -> None:
    slower = Samples([Run(1.0, 0, 0), Run(9.0, 0, 0), Run(1.5, 0, 0)])
    faster = Samples(slower.runs[::-1])
    assert drift_of(slower) == drift_of(faster) == 1.5


def test_the_memory_of_a_process_is_its_own() -> None:
    kept = bytearray(200 << 20)
    run, _ = run_process(["true"], {"PATH": "/usr/bin:/bin"})
    assert len(kept) and run.peak_mib < 50


def test_an_exit_code_that_was_not_expected_is_an_error_with_its_output() -> None:
    with pytest.raises(RuntimeError, match="ended with 3: why"):
        run_process(["sh", "-c", "echo why; exit 3"], {"PATH": "/usr/bin:/bin"})
