"""Files routers read: replaced at once, never half written."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path


def write_file(path: Path, text: str, mode: int, *, is_shared: bool = False) -> None:
    """Atomically: a reader sees the old file or the new one. ``is_shared`` gives it the group of
    its directory, where we may."""
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w") as file:
            if is_shared:
                with suppress(PermissionError):
                    os.fchown(handle, -1, path.parent.stat().st_gid)
            os.fchmod(handle, mode)
            file.write(text)
        Path(draft).replace(path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise


def read_file(path: Path) -> str | None:
    """Its text; None when there is none."""
    try:
        return path.read_text()
    except FileNotFoundError:
        return None
