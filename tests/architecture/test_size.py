"""Small files, small functions, and words that say nothing."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = (ROOT / "ctrlplane_gitops", ROOT / "tests")
FILES = sorted(path for folder in FOLDERS for path in folder.rglob("*.py"))
MAX_FILE = 400
MAX_FUNCTION = 50
# Spelled as classes of one letter so that this file does not name them.
EMPTY_WORDS = re.compile("TO[D]O|FIX[M]E|X[X]X|NotImplemented[E]rror")
EMPTY_NAMES = re.compile(r"(Manager|Helper|Helpers|Util|Utils|Common)$", re.IGNORECASE)


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from ``def`` to the end, without the docstring."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function, clean=False) is not None:
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", FILES, ids=name)
def test_a_file_is_small_and_says_what_it_means(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)
    assert len(text.splitlines()) <= MAX_FILE
    assert [item.name for item in functions(tree) if length(item) > MAX_FUNCTION] == []
    assert EMPTY_WORDS.findall(text) == []
    names = [item.name for item in ast.walk(tree) if isinstance(item, ast.ClassDef)]
    assert [item for item in (path.stem, *names) if EMPTY_NAMES.search(item)] == []
