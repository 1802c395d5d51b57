"""``python -m ctrlplane_gitops`` and the command ``ctrlplane-gitops``."""

from __future__ import annotations

import gc
import os
import sys
from contextlib import suppress
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line and exit with its code."""
    # Loading modules makes ten thousands of objects and no garbage.
    gc.set_threshold(100_000)
    from ctrlplane_gitops.cli.main import main as run

    # Held until the process ends: taking a large plan apart takes longer than a small one.
    built: list[object] = []
    code = run(built=built)
    for stream in (sys.stdout, sys.stderr):
        # What could not be written was dealt with when it was printed.
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    # Nothing is left to be tidied.
    os._exit(code)


if __name__ == "__main__":
    main()
