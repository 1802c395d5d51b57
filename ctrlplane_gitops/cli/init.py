"""``init``: a small working repo to begin with."""

from __future__ import annotations

import shlex
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from ctrlplane_gitops.cli.context import Context
from ctrlplane_gitops.cli.exit_codes import ExitCode
from ctrlplane_gitops.errors import UsageError

_NEXT = """
Next:{enter}
  git init && git add . && git commit -m "First specs"    # optional, but it is what it is for
  ctrlplane-gitops plan
  ctrlplane-gitops apply
  ctrlplane-gitops status
"""


def run_init(context: Context) -> ExitCode:
    """Write the starter into an empty folder; a folder with anything but ``.git`` in it is left
    as it is."""
    folder = Path(context.options["directory"] or context.options["chdir"])
    starter = files("ctrlplane_gitops.cli") / "starter"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        present = sorted(item.name for item in folder.iterdir() if item.name != ".git")
        if present:
            raise UsageError(
                f"{folder} is not empty: it has {present[0]}",
                hint="give an empty folder: ctrlplane-gitops init DIR",
            )
        written = _copy(starter, folder)
    except OSError as error:
        reason = (error.strerror or "error").lower()
        raise UsageError(f"cannot write into {folder}: {reason}") from None
    for path in written:
        context.terminal.print(f"  {path.relative_to(folder)}\n")
    enter = "" if folder.resolve() == Path.cwd() else f"\n  cd {shlex.quote(str(folder))}"
    context.terminal.print(f"Wrote {len(written)} files into {folder}\n")
    context.terminal.print(_NEXT.format(enter=enter))
    return ExitCode.OK


def _copy(source: Traversable, target: Path) -> list[Path]:
    written = []
    for item in sorted(source.iterdir(), key=lambda entry: entry.name):
        if item.name == "__pycache__":
            continue
        path = target / item.name
        if item.is_dir():
            path.mkdir(exist_ok=True)
            written.extend(_copy(item, path))
        else:
            path.write_bytes(item.read_bytes())
            written.append(path)
    return written
