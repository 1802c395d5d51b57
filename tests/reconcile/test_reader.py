"""``reconcile/reader.py``: see the cases, which begin second processes."""

from pathlib import Path

from tests.alone import run_cases


def test_files_are_read_by_one_process_or_two() -> None:
    run_cases(Path(__file__).with_name("reader_cases.py"))
