"""Terminals, pipes and files: what reaches them, and what a person is asked."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from ctrlplane_gitops.cli.terminal import Terminal
from ctrlplane_gitops.errors import UsageError
from tests.cli.folder import PATIENCE_S, WEB, Folder, web
from tests.e2e.crash_kit import MEMORY, PROCESS

ESCAPE = "\x1b"
# Colour off, screen cleared, C1 introducer, delete, a right-to-left override, a bell.
HOSTILE = "\x1b[2J \x9b31m \x7f \u202e \a"
EVIL = [char for char in HOSTILE if not char.isprintable()]


# Colour


def test_a_terminal_has_colour_and_nothing_else_has(folder: Folder) -> None:
    code, shown = folder.on_terminal("plan")
    assert code == 0 and f"{ESCAPE}[32m  + resource" in shown
    assert ESCAPE not in folder.spawn("plan").stdout


@pytest.mark.parametrize(
    "variable", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {"CTRLPLANE_NO_COLOR": "1"}]
)
@pytest.mark.parametrize("verb", ["plan", "status", "nonsense"])
def test_colour_can_be_refused(folder: Folder, variable: dict[str, str], verb: str) -> None:
    if verb == "nonsense" and "CTRLPLANE_NO_COLOR" in variable:
        pytest.skip("what is no verb has no flags")
    assert ESCAPE not in folder.on_terminal(verb, **variable)[1]


def test_no_color_given_before_or_after_is_plain(folder: Folder) -> None:
    assert ESCAPE not in folder.on_terminal("plan", "--no-color")[1]
    assert ESCAPE not in folder.on_terminal("--no-color", "plan")[1]


def test_an_empty_no_color_refuses_nothing(folder: Folder) -> None:
    assert ESCAPE in folder.on_terminal("plan", NO_COLOR="")[1]


def test_an_error_on_a_terminal_is_red_and_in_a_file_plain(folder: Folder) -> None:
    _, shown = folder.on_terminal("plna")
    assert f"{ESCAPE}[31merror: there is no verb 'plna'{ESCAPE}[0m\n" in shown
    assert folder.spawn("plna").stderr.startswith("error: there is no verb")


# The question


@pytest.mark.parametrize("answer", [b"yes\n", b"  yes \n"])
def test_yes_applies(folder: Folder, answer: bytes) -> None:
    code, shown = folder.on_terminal("apply", answer=answer)
    assert code == 0
    assert "Do you want to do this (3 to add, 0 to change, 0 to destroy)?" in shown
    assert "Apply complete! Resources: 3 added" in shown
    assert "No changes." in folder.ok("plan")


@pytest.mark.parametrize(
    "answer",
    [b"y\n", b"YES\n", b"yes please\n", b"\x04", signal.SIGINT, signal.SIGTERM],
    ids=["y", "shouted", "more", "end", "interrupted", "terminated"],
)
def test_anything_else_changes_nothing_and_exits_8(
    folder: Folder, answer: bytes | signal.Signals
) -> None:
    code, shown = folder.on_terminal("apply", answer=answer)
    assert code == 8
    assert shown.splitlines()[-1].endswith("error: not approved, nothing was changed\x1b[0m")
    assert json.loads(folder.ok("status", "--json"))["instances"][0]["phase"] == "pending"


def test_an_empty_plan_asks_nothing(applied: Folder) -> None:
    code, shown = applied.on_terminal("apply")
    assert (code, "yes" in shown) == (0, False)


def test_where_nobody_can_be_asked_approval_has_to_be_given(folder: Folder) -> None:
    done = folder.spawn("apply")
    assert done.returncode == 64
    assert "Plan: 3 to add" in done.stdout
    assert done.stderr.splitlines() == [
        "error: this plan has to be approved and nobody is there to ask",
        "    add --auto-approve (-y), or save a plan with plan --out FILE and apply that",
    ]


def test_nobody_is_asked_about_a_plan_that_is_not_shown(folder: Folder) -> None:
    code, shown = folder.on_terminal("apply", "--json")
    assert code == 64 and "this plan has to be approved and --json does not show it" in shown


def test_destroy_asks_as_well(applied: Folder) -> None:
    code, shown = applied.on_terminal("destroy", answer=b"no\n")
    assert code == 8 and "3 to destroy)?" in shown
    assert "running" in applied.ok("status")


# Progress


def test_progress_is_sentences_for_people_and_events_for_logs(folder: Folder) -> None:
    _, shown = folder.on_terminal("apply", "-y")
    assert f"\n{WEB}: v1 is live [" in shown and "rollout.completed" not in shown
    folder.ok("destroy", "-y")
    lines = folder.spawn("apply", "-y").stderr.splitlines()
    types = [line.split()[1] for line in lines]
    assert types[0] == "apply.started" and types[-1] == "apply.ended"
    for line in lines:
        datetime.fromisoformat(line.split()[0])


# Pipes and files


def closed_pipe() -> int:
    """The writing end of a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    return writing


@pytest.mark.parametrize(
    "arguments", [["plan"], ["status"], ["get"], ["schema"], ["completion", "bash"], ["--help"]]
)
def test_a_reader_that_went_away_is_no_error(folder: Folder, arguments: list[str]) -> None:
    pipe = closed_pipe()
    done = folder.spawn(*arguments, stdout=pipe, stderr=subprocess.PIPE)
    os.close(pipe)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("is_err_closed", [False, True])
def test_an_apply_goes_on_when_nobody_reads_it_and_its_exit_code_is_true(
    folder: Folder, is_err_closed: bool
) -> None:
    pipe = closed_pipe()
    err = pipe if is_err_closed else subprocess.PIPE
    assert folder.spawn("apply", "-y", stdout=pipe, stderr=err).returncode == 0
    assert "No changes." in folder.ok("plan")
    folder.write("")
    assert folder.spawn("apply", "-y", stdout=pipe, stderr=err).returncode == 5
    os.close(pipe)


def test_following_logs_ends_with_its_reader(tmp_path: Path) -> None:
    talker = "command: [sh, -c, 'while :; do echo still here; sleep 0.05; done']"
    folder = Folder(tmp_path / "world", replace(PROCESS, program=talker, checks="[]"))
    folder.write(web(replicas=1).replace("image: app", talker))
    folder.ok("apply", "-y")
    try:
        command = " ".join(folder.command("logs", WEB, "--follow"))
        ran = subprocess.run(
            ["bash", "-c", f"set -o pipefail; {command} | head -n 1"],
            env=folder.environ, capture_output=True, text=True, timeout=PATIENCE_S,
        )  # fmt: skip
        assert (ran.returncode, ran.stdout, ran.stderr) == (0, "still here\n", "")
    finally:
        folder.ok("destroy", "-y")


def test_a_full_disk_is_an_error_with_its_cause(folder: Folder) -> None:
    with Path("/dev/full").open("w") as full:
        done = folder.spawn("plan", stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1
    assert done.stderr == "error: cannot print: no space left on device\n"


def test_closed_streams_are_no_error(folder: Folder) -> None:
    command = " ".join(folder.command("plan"))
    ran = subprocess.run(["sh", "-c", f"{command} >&- 2>&-"], env=folder.environ)
    assert ran.returncode == 0


# What must not steer a terminal


def test_no_character_of_a_message_steers_the_terminal() -> None:
    out, err = io.StringIO(), io.StringIO()
    terminal = Terminal(out, err)
    terminal.print(f"a {HOSTILE}\nb\n")
    terminal.note(f"c {HOSTILE}")
    terminal.fail(UsageError(f"d {HOSTILE}\nerror: forged", hint=f"e {HOSTILE}"))
    text = out.getvalue() + err.getvalue()
    assert [char for char in EVIL if char in text] == []
    assert [line[:3] for line in text.strip().splitlines()] == [
        "a \ufffd",
        "b",
        "c \ufffd",
        "err",
        "   ",
    ]


def test_json_holds_the_same_value_without_the_character() -> None:
    out = io.StringIO()
    value = {"text": HOSTILE, "name": "株式会社", "tag": "\U000e0041"}
    Terminal(out, out).print_json(value)
    assert json.loads(out.getvalue()) == value
    assert [char for char in (*EVIL, "\U000e0041") if char in out.getvalue()] == []
    assert "株式会社" in out.getvalue()


@pytest.mark.parametrize(
    "arguments",
    [["validate"], ["plan"], ["plan", "--json"], ["plan", "--format", "markdown"], ["get"],
     ["status"], ["apply", "-y"]],
)  # fmt: skip
@pytest.mark.parametrize(
    "place", ["metadata: {name: %s}", "spec: {displayName: %s}", "%s: 1", "apiVersion: %s"]
)
def test_nothing_in_a_file_steers_the_terminal(
    folder: Folder, arguments: list[str], place: str
) -> None:
    quoted = json.dumps(f"x{HOSTILE}")
    tenant = "apiVersion: ctrlplane.dev/v1\nkind: Tenant\nmetadata: {name: zen}\nspec: {}\n"
    key = place.split(":")[0]
    lines = [line for line in tenant.splitlines() if not line.startswith(key)]
    (folder.repo / "zen.yaml").write_text("\n".join([*lines, place % quoted]) + "\n")
    folder.run(*arguments)
    text = folder.output + folder.errors
    assert [char for char in EVIL if char in text] == []


@pytest.mark.parametrize(
    "words",
    [[HOSTILE], ["get", HOSTILE], ["plan", HOSTILE], ["plan", "--target", HOSTILE],
     ["apply", HOSTILE], ["history", HOSTILE], ["events", HOSTILE], ["--ref", HOSTILE, "plan"]],
)  # fmt: skip
def test_a_word_of_the_command_line_does_not_steer_the_terminal(
    folder: Folder, words: list[str]
) -> None:
    folder.run(*words)
    text = folder.output + folder.errors
    assert [char for char in EVIL if char in text] == []


@pytest.mark.parametrize(
    "words",
    [["status"], ["status", "--json"], ["plan"], ["plan", "--json"],
     ["plan", "--format", "markdown"], ["apply", "-y"], ["events"], ["events", "--json"]],
)  # fmt: skip
def test_what_a_provider_says_neither_steers_nor_passes_for_a_line(
    applied: Folder, words: list[str]
) -> None:
    path = applied.root / "state" / "crash" / "world.json"
    world = json.loads(path.read_text())
    said = f"out of memory{HOSTILE}\nforged\r\nforged"
    world["replicas"][0] |= {"phase": "stopped", "exit_code": 137, "reason": said}
    path.write_text(json.dumps(world))
    applied.run(*words)
    text = applied.output + applied.errors
    assert [char for char in EVIL if char in text] == []
    assert not [line for line in text.splitlines() if line.lstrip("+-! ").startswith("forged")]


def test_a_reason_for_silence_does_not_pass_for_a_line(folder: Folder) -> None:
    gap = json.dumps({"type": "memory", "gap": "no route\nforged"})
    folder.runtime = replace(MEMORY, provider=gap)
    folder.write(web())
    for words in (["status"], ["plan"], ["plan", "--format", "markdown"], ["logs", WEB]):
        folder.run(*words)
        text = folder.output + folder.errors
        assert "no route" in text
        assert not [line for line in text.splitlines() if line.lstrip("+-! ").startswith("forged")]
