"""A call in a second process: its answer, or none."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

import pytest

from ctrlplane_gitops.execute.child import Child, begin_child

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or len(os.sched_getaffinity(0)) < 2, reason="one processor"
)


def begin(call: object) -> Child:
    found = begin_child(call)  # type: ignore[arg-type]
    assert found is not None
    return found


def count_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def fail() -> bytes:
    raise RuntimeError("never seen")


def interrupt() -> bytes:
    os.kill(os.getpid(), signal.SIGINT)
    return b"too late"


def test_the_answer_may_be_larger_than_a_pipe_and_comes_from_another_process() -> None:
    child = begin(lambda: b"%d " % os.getpid() + b"x" * 1_000_000)
    answer = child.result()
    assert answer is not None and len(answer) > 1_000_000
    assert int(answer.split()[0]) != os.getpid()


@pytest.mark.parametrize("call", [fail, interrupt, lambda: os._exit(0)])
def test_a_call_that_fails_gives_no_answer_and_prints_nothing(
    call: object, capfd: pytest.CaptureFixture[str]
) -> None:
    assert begin(call).result() is None
    assert capfd.readouterr() == ("", "")


def test_a_child_nobody_waits_for_is_ended_and_leaves_nothing_behind() -> None:
    child = begin(lambda: threading.Event().wait() and b"")
    opened = count_files()
    child.end()
    child.end()
    assert count_files() == opened - 1
    with pytest.raises(ChildProcessError):
        os.waitpid(child.process, os.WNOHANG)


def test_the_parent_is_interrupted_as_before() -> None:
    def read_signals() -> object:
        handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
        return handlers, signal.pthread_sigmask(signal.SIG_BLOCK, ())

    before = read_signals()
    begin(lambda: b"").result()
    assert read_signals() == before


def test_there_is_no_child_beside_other_threads() -> None:
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        assert begin_child(lambda: b"") is None
    finally:
        stop.set()
        thread.join()
