"""The threads there are: a bounded pool, a heartbeat, and readers of streams. No other file starts
one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ctrlplane_gitops.clock import Clock

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

T = TypeVar("T")


class Pool:
    """At most ``size`` calls at a time. Threads are started when they are first needed."""

    def __init__(self, size: int, name: str) -> None:
        self._size = size
        self._name = name
        self._lock = threading.Lock()
        self._made: ThreadPoolExecutor | None = None

    @property
    def _executor(self) -> ThreadPoolExecutor:
        """Made when it is first needed: a look at one provider takes no thread."""
        from concurrent.futures import ThreadPoolExecutor

        with self._lock:
            if self._made is None:
                self._made = ThreadPoolExecutor(self._size, thread_name_prefix=self._name)
            return self._made

    def submit(self, call: Callable[[], T]) -> Future[T]:
        return self._executor.submit(call)

    def run_all(self, calls: Sequence[Callable[[], None]]) -> None:
        """All calls, side by side; raises the first error when every one has ended. One alone is
        counted as well: several callers may have one each."""
        from concurrent.futures import wait

        futures = [self.submit(call) for call in calls]
        wait(futures)
        for future in futures:
            future.result()

    def close(self) -> None:
        """Wait for what runs; what has not started is dropped."""
        with self._lock:
            made = self._made
        if made is not None:
            made.shutdown(wait=True, cancel_futures=True)


def wait_any(futures: Collection[Future[Any]], timeout: timedelta) -> None:
    """Return when one of the futures is done, or after ``timeout``."""
    from concurrent.futures import FIRST_COMPLETED, wait

    wait(futures, timeout=max(0.0, timeout.total_seconds()), return_when=FIRST_COMPLETED)


class Begun(Generic[T]):
    """A call in a thread of its own, for one that mostly waits. The thread ends with the process
    where nobody asks for the result."""

    def __init__(self, call: Callable[[], T]) -> None:
        self._result: list[T] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(call,), name="ahead", daemon=True)
        self._thread.start()

    def _run(self, call: Callable[[], T]) -> None:
        try:
            self._result.append(call())
        except BaseException as error:
            self._error = error

    @property
    def is_done(self) -> bool:
        return not self._thread.is_alive()

    def result(self) -> T:
        """Wait for it; raises what the call raised."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._result[0]


@contextmanager
def beating(clock: Clock, interval: timedelta, beat: Callable[[], bool]) -> Iterator[None]:
    """Call ``beat`` every ``interval`` from a thread of its own while the block runs, until it
    returns False."""
    stop = threading.Event()

    def run() -> None:
        while not clock.wait(stop, interval):
            if not beat():
                return

    thread = threading.Thread(target=run, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def merge(streams: Sequence[Iterable[T]]) -> Iterator[T]:
    """The items of all streams in the order they come, until every one has ended; what one of them
    raises is raised here. Whoever stops early waits for none of them: a silent stream's thread
    ends with the process."""
    import queue

    items: queue.SimpleQueue[tuple[T] | BaseException | None] = queue.SimpleQueue()

    def read(stream: Iterable[T]) -> None:
        try:
            for item in stream:
                items.put((item,))
        except BaseException as error:
            items.put(error)
        else:
            items.put(None)

    for stream in streams:
        threading.Thread(target=read, args=(stream,), name="reader", daemon=True).start()
    left = len(streams)
    while left:
        found = items.get()
        if isinstance(found, BaseException):
            raise found
        if found is None:
            left -= 1
        else:
            yield found[0]
