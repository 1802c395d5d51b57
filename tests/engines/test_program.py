"""Ports are one process's alone."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.engines.program import claim_port, free_port

_HOLDER = (
    "import sys; from tests.engines.program import claim_port;"
    " print(claim_port(int(sys.argv[1])), flush=True); sys.stdin.read()"
)


def hold(number: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _HOLDER, str(number)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_a_port_that_one_process_was_given_is_no_other_ones() -> None:
    number = free_port()
    with hold(number) as other:
        assert other.communicate(timeout=60)[0].strip() == "False"


def test_a_port_is_free_again_with_the_end_of_who_had_it() -> None:
    number = 100_000 + os.getpid()  # a lock is no port
    with hold(number) as other:
        assert other.stdout is not None
        assert other.stdout.readline().strip() == "True"
        assert not claim_port(number)
    assert claim_port(number)
