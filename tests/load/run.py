"""Starting a load from a test: ``with run_load(port, host) as load: ...``, then ``load.report``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ctrlplane_gitops.clock import monotonic_s, sleep
from tests.load.report import Report, Sample, Shape

_ROOT = Path(__file__).parents[2]


class Load:
    """A generator that runs. ``report`` can be read at any time; it holds what has ended."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._samples: list[Sample] = []
        self._read = 0
        self._cpu_s = 0.0

    @property
    def report(self) -> Report:
        if self._path.exists():
            with self._path.open("rb") as file:
                file.seek(self._read)
                text = file.read()
            # The last line may not be written whole yet.
            whole = text[: text.rfind(b"\n") + 1]
            self._read += len(whole)
            for line in whole.decode().splitlines():
                if line.startswith("{"):
                    self._cpu_s = json.loads(line)["cpu_s"]
                else:
                    self._samples.append(Sample.from_line(line))
        ordered = sorted(self._samples, key=lambda sample: sample.due_s)
        return Report(tuple(ordered), self._cpu_s)

    def wait_for(self, holds: Callable[[Report], bool], patience_s: float = 30) -> Report:
        """The first report of which it holds; AssertionError with the last one if none does."""
        deadline = monotonic_s() + patience_s
        while not holds(report := self.report):
            assert monotonic_s() < deadline, f"it never came about: {report.summary()}"
            sleep(0.1)
        return report

    def gather(self, count: int, patience_s: float = 60) -> Report:
        """The next ``count`` requests due from now on, as soon as they have ended. Slow ones that
        are in flight still are left out."""
        since = monotonic_s()

        def is_there(report: Report) -> bool:
            return len(report.between(since).samples) >= count

        return Report(self.wait_for(is_there, patience_s).between(since).samples[:count])


@contextmanager
def run_load(port: int, host: str, shape: Shape = Shape()) -> Iterator[Load]:  # noqa: B008
    """Requests to 127.0.0.1:``port`` for the block, from a process of their own, so that what the
    test does in this one neither delays nor slows them. The block ends when the last is answered.
    RuntimeError when the generator could not run to its end."""
    with tempfile.TemporaryDirectory(prefix="ctrlplane-load-") as folder:
        path = Path(folder, "samples")
        command = [sys.executable, "-m", "tests.load.generator", str(port), host]
        process = subprocess.Popen(
            [*command, shape.to_json(), str(path)],
            cwd=_ROOT,
            env={**os.environ, "PYTHONPATH": str(_ROOT)},
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        load = Load(path)
        try:
            load.wait_for(lambda report: process.poll() is not None or bool(report.samples))
            if process.poll() is None:
                yield load
            _, said = process.communicate(timeout=shape.timeout_s + shape.slow_s + 30)
        finally:
            # Where the block has failed, nobody waits for what is in flight.
            with process:
                process.kill()
            # With what was written last, for whoever reads it after the folder is gone.
            load.report  # noqa: B018
        if process.returncode:
            # Also where the block never began.
            raise RuntimeError(f"the load ended with {process.returncode}: {said.decode()[-600:]}")
