"""``logs`` and ``exec``: what goes on inside the replicas."""

from __future__ import annotations

import re
import signal
import subprocess

import pytest

from tests.e2e.plane import Plane, fetch, wait_until

WEB = "instance/acme/web"


def begin(plane: Plane, replicas: int) -> Plane:
    plane.begin("acme", replicas=replicas)
    done = plane.apply()
    assert done.code == 0, done.text
    return plane


@pytest.fixture
def running(plane: Plane) -> Plane:
    return begin(plane, 3)


def requests_in(text: str) -> dict[str, int]:
    """How many requests for ``/mark`` each replica printed."""
    names = [line.partition(" | ")[0] for line in text.splitlines() if "GET /mark" in line]
    return {name: names.count(name) for name in names}


def test_logs_are_of_all_replicas_and_say_whose(running: Plane) -> None:
    for url in running.urls(WEB):
        fetch(f"{url}/mark")
    names = set(running.replicas())
    wait_until(lambda: len(requests_in(running.ok("logs", WEB).out)) == 3)
    text = running.ok("logs", WEB).out
    assert requests_in(text) == dict.fromkeys(names, 1)
    for name in names:
        assert f"{name} | version 1 listens" in text
    one = running.ok("logs", WEB, "--replica", "1").out
    assert one.count("version 1 listens") == 1 and one.count("GET /mark") == 1
    assert " | " not in one
    last = running.ok("logs", WEB, "--replica", "1", "--tail", "1").out
    assert last.count("\n") == 1


def test_logs_of_what_has_died_can_be_read(running: Plane) -> None:
    name = sorted(running.replicas())[0]
    running.kill(name)
    assert f"{name} | version 1 listens" in running.ok("logs", WEB).out


@pytest.mark.parametrize("which", [(), ("--replica", "2")], ids=["all", "one"])
def test_followed_logs_go_on_until_they_are_interrupted(
    running: Plane, which: tuple[str, ...]
) -> None:
    process = running.start("logs", WEB, "-f", *which)
    assert process.stdout is not None
    count = 1 if which else 3
    seen = ""
    while seen.count("version 1 listens") < count:
        seen += process.stdout.readline()
    for url in running.urls(WEB):
        fetch(f"{url}/mark")
    while seen.count("GET /mark") < count:
        seen += process.stdout.readline()
    assert process.poll() is None
    assert interrupt(process) == 0


def interrupt(process: subprocess.Popen[str]) -> int:
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert "Traceback" not in err, err
    return process.returncode


def test_exec_exits_with_the_code_of_the_command(running: Plane) -> None:
    for code in (0, 3, 42, 255):
        done = running.run("exec", WEB, "--", "sh", "-c", f"echo out; echo err >&2; exit {code}")
        assert done.code == code, done.text
        assert sorted(done.text.split()) == ["err", "out"]


def test_exec_runs_in_the_replica_that_was_named(running: Plane) -> None:
    ask = "import os; print(os.environ['VERSION'], os.environ['PORT'], os.getcwd())"
    found = set()
    for index in range(3):
        done = running.ok("exec", "--replica", str(index), WEB, "--", "python3", "-c", ask)
        version, port, folder = done.out.split()
        assert version == "1"
        found.add((port, folder))
    if running.engine.type == "process":
        assert len(found) == 3
        ports = {int(re.findall(r":(\d+)$", url)[0]) for url in running.urls(WEB)}
        assert {int(port) for port, _ in found} == ports
    else:
        assert found == {("8080", "/app")}


def test_exec_hands_arguments_on_as_they_are(local: Plane) -> None:
    running = begin(local, 1)
    words = ["--json", "-y", "a b", "$HOME", "", "--"]
    code = "import sys, json; print(json.dumps(sys.argv[1:]))"
    done = running.ok("exec", WEB, "--", "python3", "-c", code, *words)
    assert done.json == words


def test_exec_that_cannot_be_done_says_why(local: Plane) -> None:
    running = begin(local, 1)
    done = running.run("exec", WEB, "--", "no-such-program")
    assert done.code not in (0, 70)
    assert "no-such-program" in done.text
    for arguments, code in (((WEB,), 64), (("instance/acme/none", "--", "true"), 1)):
        done = running.run("exec", *arguments)
        assert done.code == code, done.text
        assert done.err.count("\n") <= 2
    done = running.run("exec", "--replica", "7", WEB, "--", "true")
    assert done.code == 1 and "no replica 7" in done.err


def test_exec_that_takes_too_long_is_ended(running: Plane) -> None:
    nap = ("python3", "-c", "import time; time.sleep(61)")
    done = running.run("exec", "--exec-timeout", "500ms", WEB, "--", *nap)
    assert done.code == 1, done.text
    assert "did not end" in done.err
