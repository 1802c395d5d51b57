"""Golden files: ``pytest tests/specs --update-golden`` writes them anew."""

from contextlib import suppress

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    with suppress(ValueError):  # another folder's conftest may have added it
        parser.addoption("--update-golden", action="store_true", help="write golden files anew")
