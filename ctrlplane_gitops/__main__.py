"""``python -m ctrlplane_gitops`` and the command ``ctrlplane-gitops``."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and exit with its code."""
    from ctrlplane_gitops.cli.main import main as run

    sys.exit(run())


if __name__ == "__main__":
    main()
