"""One engine for all the processes that share the tests."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from ctrlplane_gitops.file import lock_file, read_file, write_file


@contextmanager
def shared(path: Path, start: Callable[[], AbstractContextManager[str]]) -> Iterator[str]:
    """The address of what the first process to come has started; it ends it when all others have
    left. ``path`` holds the address while it is there."""
    with Path(f"{path}.users").open("ab") as users:
        with lock_file(path):
            address = read_file(path)
            started = None if address else start()
            if started is not None:
                address = started.__enter__()
                write_file(path, address)
            # Nobody has it alone now: that takes the other lock.
            fcntl.flock(users, fcntl.LOCK_SH)
        assert address
        try:
            yield address
        finally:
            fcntl.flock(users, fcntl.LOCK_UN)
            if started is not None:
                while not _end(path, started, users.fileno()):
                    # Until those who use it now have left.
                    fcntl.flock(users, fcntl.LOCK_EX)
                    fcntl.flock(users, fcntl.LOCK_UN)


def _end(path: Path, started: AbstractContextManager[str], users: int) -> bool:
    """Unless somebody uses it."""
    with lock_file(path), suppress(BlockingIOError):
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()
        started.__exit__(None, None, None)
        return True
    return False
