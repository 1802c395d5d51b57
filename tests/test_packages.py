"""Each package is usable alone: an example each, and every one runs."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples/packages").glob("*_alone.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_a_package_is_usable_alone(path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-W", "error", str(path)], capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.strip()
    assert not ran.stderr


def test_every_package_has_an_example() -> None:
    packages = {path.parent.name for path in (ROOT / "ctrlplane_gitops").glob("*/__init__.py")}
    # The command line is shown by the other examples.
    assert {path.stem.removesuffix("_alone") for path in EXAMPLES} == packages - {"cli"}
