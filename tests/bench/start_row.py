"""Row 8: what starting costs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from tests.bench.measure import (
    COMMAND,
    Run,
    Verdict,
    drift_of,
    python_environ,
    run_process,
    take_turns,
)

_ROUNDS = 20
_PLANE = """\
apiVersion: ctrlplane.dev/v1
kind: ControlPlane
metadata: {name: empty}
spec: {providers: {here: {type: memory}}, defaultProvider: here}
"""


def measure_start(root: Path) -> Iterator[Verdict]:
    """``--help``, and a plan of a repo with nothing but a control plane: the best of 20 fresh
    processes each, for what starting takes is a floor and everything above it is the machine."""
    environ = python_environ({"PATH": "/usr/bin:/bin", "HOME": str(root)}, root / "pyc")
    folder = root / "empty"
    folder.mkdir()
    (folder / "ctrlplane.yaml").write_text(_PLANE)

    def run(*command: str) -> Run:
        return run_process(command, environ, folder)[0]

    results = take_turns(
        {
            "argparse": lambda: run(sys.executable, "-c", "import argparse"),
            "help": lambda: run(*COMMAND, "--help"),
            "plan": lambda: run(*COMMAND, "plan"),
        },
        _ROUNDS,
    )
    drift = drift_of(results["argparse"], _ROUNDS // 4)
    least = {name: found.least_s for name, found in results.items()}
    note = f"best of {_ROUNDS}; argparse {least['argparse'] * 1000:.0f} ms, moved {drift:.2f}x"
    ratio = least["help"] / least["argparse"]
    yield Verdict("8", "--help to importing argparse", ratio, 2, note=note, drift=drift)
    texts = {"help": "--help", "plan": "plan of an empty control plane"}
    for name, text in texts.items():
        used = f"{results[name].peak_mib:.0f} MiB"
        yield Verdict("8", text, least[name] * 1000, 200, "ms", note=used, drift=drift)
