"""What ``--help`` says, word for word."""

from collections.abc import Callable

import pytest

from ctrlplane_gitops.cli.verb import VERBS
from tests.cli.conftest import GOLDEN
from tests.cli.folder import Folder

NAMES = [verb.name for verb in VERBS]


@pytest.mark.parametrize("name", ["", *NAMES])
def test_help_reads_as_it_did(
    name: str,
    check_golden: Callable[[str, str], None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    folder: Folder,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")  # argparse asks the process itself
    assert folder.run(*([name] if name else []), "--help") == 0
    check_golden(f"help/{name or 'ctrlplane-gitops'}.txt", capsys.readouterr().out)


def test_there_is_no_golden_file_of_a_verb_that_is_gone() -> None:
    found = {path.stem for path in (GOLDEN / "help").iterdir()}
    assert found == {*NAMES, "ctrlplane-gitops"}
