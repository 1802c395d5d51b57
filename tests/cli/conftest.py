"""A folder per test. Golden files: ``pytest tests/cli --update-golden`` writes them anew."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.folder import Folder, web
from tests.e2e.crash_kit import MEMORY

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """``instance/acme/web`` is wanted with two replicas; nothing is applied yet."""
    made = Folder(tmp_path / "world", MEMORY)
    made.write(web())
    return made


@pytest.fixture
def applied(folder: Folder) -> Folder:
    """The same, and it runs."""
    folder.ok("apply", "-y")
    return folder


@pytest.fixture
def check_golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compare a text with ``golden/<name>``."""
    is_update = request.config.getoption("--update-golden")

    def check(name: str, text: str) -> None:
        path = GOLDEN / name
        if is_update:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        assert text == path.read_text()

    return check
