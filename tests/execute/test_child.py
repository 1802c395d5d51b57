"""``execute/child.py``: see the cases, which begin second processes."""

from pathlib import Path

from tests.alone import run_cases


def test_a_second_process_gives_its_parts_or_ends() -> None:
    run_cases(Path(__file__).with_name("child_cases.py"))
