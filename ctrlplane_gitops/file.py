"""Small files that several processes read and write: replaced at once, never half written."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def write_file(
    path: Path, content: str | bytes, mode: int = 0o600, *, is_shared: bool = False
) -> None:
    """Atomically: a reader sees the old file or the new one. ``is_shared`` gives it the group of
    its directory, where we may. OSError when it cannot be written; nothing is left behind then."""
    # As ``tempfile`` does it, which takes longer to import than a small file to write.
    draft = path.with_name(f".{path.name}.{os.urandom(6).hex()}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            if is_shared:
                with suppress(PermissionError):
                    os.fchown(handle, -1, path.parent.stat().st_gid)
            os.fchmod(handle, mode)
            file.write(content if isinstance(content, bytes) else content.encode())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def read_file(path: Path) -> str | None:
    """Its text; None when there is none."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


@contextmanager
def lock_file(path: Path) -> Iterator[None]:
    """Keep other processes that lock ``path`` out while the block runs; its directory is made.
    The lock is a file beside it, because the file itself is replaced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with Path(f"{path}.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
