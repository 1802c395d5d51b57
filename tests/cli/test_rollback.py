"""``rollback``: to an earlier release and back to Git, and why not."""

from __future__ import annotations

import json

import pytest

from tests.cli.folder import WEB, Folder, web


@pytest.fixture
def twice(applied: Folder) -> Folder:
    """``v2`` runs, ``v1`` is kept."""
    applied.write(web("2"))
    applied.ok("apply", "-y")
    return applied


def release(folder: Folder) -> int:
    (found,) = json.loads(folder.ok("status", "--json"))["instances"]
    assert found["phase"] == "running"
    return int(found["release"])


@pytest.mark.parametrize("to", [[], ["--to", "v1"], ["--to", "1"]])
def test_an_earlier_release_runs_until_git_is_followed_again(twice: Folder, to: list[str]) -> None:
    twice.ok("rollback", WEB, *to, "-y")
    assert release(twice) == 1
    assert "v1 is pinned; rollback --clear follows Git again" in twice.ok("status")
    assert "v1*" in twice.ok("history", WEB) and "pinned" in twice.output
    assert "No changes." in twice.ok("plan")
    twice.ok("apply", "-y")
    assert release(twice) == 1

    twice.ok("rollback", WEB, "--clear", "-y")
    assert release(twice) == 2
    assert "pinned" not in twice.ok("status")
    types = [item["type"] for item in json.loads(twice.ok("events", "--json"))["events"]]
    assert [item for item in types if "pinned" in item] == ["release.pinned", "release.unpinned"]


def test_nothing_is_pinned_without_approval(twice: Folder) -> None:
    assert twice.run("rollback", WEB) == 64
    assert "Plan: " in twice.output
    assert twice.on_terminal("rollback", WEB, answer=b"no\n")[0] == 8
    assert release(twice) == 2 and "pinned" not in twice.ok("status")


@pytest.mark.parametrize(
    ("arguments", "cause", "hint"),
    [
        ([WEB, "--to", "v9"], f"{WEB} has no release v9", "kept are: v1, v2"),
        ([WEB, "--to", "x"], "'x' is not a release such as v3", ""),
        ([WEB, "--to", "٣"], "'٣' is not a release such as v3", ""),
        ([WEB, "--clear"], f"{WEB} is not pinned", ""),
        ([WEB, "--clear", "--to", "v1"], "--to and --clear exclude each other", ""),
        (["instance/acme/nope"], "Git has no sound instance/acme/nope",
         "get instances lists what it has"),
        (["tenant/acme"], "tenant/acme is not an instance", "give instance/<tenant>/<name>"),
    ],
)  # fmt: skip
def test_what_cannot_be_returned_to_is_told_with_its_cause(
    twice: Folder, arguments: list[str], cause: str, hint: str
) -> None:
    assert twice.run("rollback", *arguments, "-y") == 64
    lines = twice.errors.splitlines()
    assert lines[0] == f"error: {cause}"
    assert "".join(lines[1:]).strip() == hint
    assert release(twice) == 2


def test_a_first_release_has_nothing_before_it(applied: Folder) -> None:
    assert applied.run("rollback", WEB, "-y") == 64
    assert applied.errors.splitlines()[0] == f"error: {WEB} has no earlier release"


def test_what_was_never_applied_has_nothing_to_return_to(folder: Folder) -> None:
    assert folder.run("rollback", WEB, "-y") == 64
    assert folder.errors == f"error: nothing is recorded of {WEB}\n    apply it first\n"
