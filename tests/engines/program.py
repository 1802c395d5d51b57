"""Finding, starting and ending a real program."""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

from ctrlplane_gitops.clock import monotonic_s, sleep


class MissingEngineError(Exception):
    """The engine cannot run here; the text says why."""


def give_up(engine: str, reason: str) -> None:
    """Skip, or fail where ``CTRLPLANE_TEST_REQUIRE`` (comma separated) names the engine."""
    if engine in os.environ.get("CTRLPLANE_TEST_REQUIRE", "").split(","):
        pytest.fail(f"{engine} is required but missing: {reason}", pytrace=False)
    pytest.skip(f"no {engine}: {reason}")


def find_program(name: str, package: str) -> str:
    """Its path, also outside of a user's ``PATH``; ``package`` is the Debian package it is in."""
    path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin")
    if path is None:
        raise MissingEngineError(f"{name!r} is not installed (apt-get install {package})")
    return path


# Below the ports the system gives to whoever connects, and those of process replicas. Each of the
# processes that share the tests has a thousand of its own.
_FIRST_PORT, _PORTS = 10_000, 1_000
_given: set[int] = set()
# Not the one that tests set back to its beginning.
_CHANCE = random.SystemRandom()


@cache
def _locks() -> int:
    """A byte of this file for each port; a process's locks go with it."""
    path = Path(tempfile.gettempdir()) / f"ctrlplane-test-ports-{os.getuid()}"
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def claim_port(number: int) -> bool:
    """Have a port until this process ends, also before anybody listens there: two HAProxies of one
    port both start, and deal out among themselves what comes. False: another process has it."""
    try:
        fcntl.lockf(_locks(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
    except OSError:
        return False
    return True


def free_port() -> int:
    """A TCP port of 127.0.0.1 nobody listens on right now, and no other process is given; another
    one each time."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw9").removeprefix("gw")) % 10
    first = _FIRST_PORT + worker * _PORTS
    for _ in range(100 * _PORTS):
        number = _CHANCE.randrange(first, first + _PORTS)
        if number in _given:
            continue
        if not claim_port(number):
            continue
        try:
            socket.create_server(("127.0.0.1", number)).close()
        except OSError:
            continue
        _given.add(number)
        return number
    raise RuntimeError(f"no port of {first} to {first + _PORTS - 1} is free")


@contextmanager
def running(
    arguments: Sequence[str], log: Path, is_ready: Callable[[], bool], patience_s: float = 30
) -> Iterator[None]:
    """The program, from being ready to SIGTERM; MissingEngineError with its log's end if never."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            arguments, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        deadline = monotonic_s() + patience_s
        while not is_ready():
            if process.poll() is not None or monotonic_s() > deadline:
                tail = log.read_text(errors="replace")[-600:]
                raise MissingEngineError(f"{arguments[0]} does not start: {tail}")
            sleep(0.05)
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=patience_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
