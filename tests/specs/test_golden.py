"""Every mistake of a file at once, as people read it."""

from pathlib import Path

import pytest

from ctrlplane_gitops.specs.validate import parse

CASES = sorted(path.parent for path in Path(__file__).parent.glob("cases/*/in.yaml"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_mistakes_are_told_with_place_cause_and_way_out(
    case: Path, request: pytest.FixtureRequest
) -> None:
    documents, diagnostics = parse({"in.yaml": (case / "in.yaml").read_bytes()})
    lines = [f"sound: {document.key}" for document in documents]
    for item in diagnostics:
        lines += [item.render(), f"    of {item.address or '?'}, freezes {item.tenant or '?'}"]
    text = "\n".join(lines) + "\n"
    golden = case / "diagnostics.txt"
    if request.config.getoption("--update-golden", default=False):
        golden.write_text(text)
    assert text == golden.read_text()


def test_no_case_shows_a_secret() -> None:
    for case in CASES:
        assert "hunter2" not in (case / "diagnostics.txt").read_text()
