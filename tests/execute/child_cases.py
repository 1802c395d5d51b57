"""A call in a second process: its parts, or the first of them. Run by ``test_child.py``."""

from __future__ import annotations

import os
import resource
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ctrlplane_gitops.execute.child import Child, begin_child

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or len(os.sched_getaffinity(0)) < 2, reason="one processor"
)


def begin(call: object) -> Child:
    found = begin_child(call)  # type: ignore[arg-type]
    assert found is not None, [item.name for item in threading.enumerate()]
    return found


def count_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def fail() -> Iterator[bytes]:
    yield b"first"
    raise RuntimeError("never seen")


def interrupt() -> Iterator[bytes]:
    yield b"first"
    os.kill(os.getpid(), signal.SIGINT)
    yield b"too late"


def leave() -> Iterator[bytes]:
    yield b"first"
    os._exit(0)


def test_parts_may_be_larger_than_a_pipe_and_come_from_another_process() -> None:
    def call() -> Iterator[bytes]:
        yield b"%d" % os.getpid()
        yield b"x" * 3_000_000
        yield b""
        yield b"last"

    process, *others = begin(call).parts()
    assert int(process) != os.getpid()
    assert others == [b"x" * 3_000_000, b"", b"last"]


def test_a_part_is_there_before_the_next_one_is_made() -> None:
    reading, writing = os.pipe()

    def call() -> Iterator[bytes]:
        yield b"first"
        yield os.read(reading, 10)

    parts = begin(call).parts()
    assert next(parts) == b"first"
    os.write(writing, b"second")
    assert list(parts) == [b"second"]
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize("call", [fail, interrupt, leave])
def test_a_call_that_fails_ends_its_parts_and_prints_nothing(
    call: object, capfd: pytest.CaptureFixture[str]
) -> None:
    assert list(begin(call).parts()) == [b"first"]
    assert capfd.readouterr() == ("", "")


def test_a_child_nobody_waits_for_is_ended_and_leaves_nothing_behind() -> None:
    opened = count_files()
    child = begin(lambda: [threading.Event().wait() and b""])
    child.end()
    child.end()
    assert count_files() == opened
    with pytest.raises(ChildProcessError):
        os.waitpid(child.process, os.WNOHANG)


def test_the_parent_is_interrupted_as_before() -> None:
    def read_signals() -> object:
        handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
        return handlers, signal.pthread_sigmask(signal.SIG_BLOCK, ())

    before = read_signals()
    list(begin(lambda: [b""]).parts())
    assert read_signals() == before


@pytest.mark.parametrize("room", [0, 1, 2])
def test_there_is_no_child_where_no_more_files_may_be_opened(room: int) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = [os.dup(0) for _ in range(room + 1)]
    for number in free:
        os.close(number)
    opened = count_files()
    # None may have this number, or a higher one.
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(free), before[1]))
    try:
        assert begin_child(lambda: [b""]) is None
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert count_files() == opened
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()


def test_there_is_no_child_beside_other_threads() -> None:
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        assert begin_child(lambda: [b""]) is None
    finally:
        stop.set()
        thread.join()
