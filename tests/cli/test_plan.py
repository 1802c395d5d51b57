"""``plan``: its formats, its exit codes, its file; and ``apply FILE``."""

from __future__ import annotations

import json
import stat
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from jsonschema import validate

from ctrlplane_gitops.cli.main import main
from ctrlplane_gitops.plan.as_json import plan_as_json
from ctrlplane_gitops.plan.change import Change, ChangeAction, Plan, PlanHeader
from ctrlplane_gitops.reconcile.look import Look
from ctrlplane_gitops.state.key import instance_key
from tests.cli.contract import PLAN
from tests.cli.folder import WEB, Folder, steady, web

DEPLOYMENT = "deployment/acme/web"
BROKEN = web(name="zen").replace("replicas: 2", "replcias: 2")
NOTHING = "No changes. Your infrastructure matches the configuration."


def read_plan(folder: Folder, *arguments: str, code: int = 0) -> dict[str, Any]:
    assert folder.run("plan", "--json", *arguments) == code, folder.errors
    found: dict[str, Any] = json.loads(folder.output)
    validate(found, PLAN)
    return found


def actions(found: Mapping[str, Any]) -> dict[str, list[str]]:
    return {item["address"]: item["change"]["actions"] for item in found["resource_changes"]}


# Formats


def test_text_begins_with_the_plane_and_ends_with_the_count(folder: Folder) -> None:
    lines = steady(folder.ok("plan")).splitlines()
    assert lines[0] == "Control plane crash | 3 resources read in 0.1s"
    assert lines[-1] == "Plan: 3 to add, 0 to change, 0 to destroy."
    assert '  + resource "deployment" "acme/web" {' in lines


def test_markdown_is_a_comment_with_the_diff_behind_a_fold(folder: Folder) -> None:
    text = folder.ok("plan", "--format", "markdown")
    assert text.startswith("### Control plane crash ")
    assert "**Plan: 3 to add, 0 to change, 0 to destroy.**" in text
    assert f"| create | `{WEB}` | not there yet |" in text
    assert "```diff\n" in text and text.endswith("</details>\n")


def test_json_of_a_first_apply_creates(folder: Folder) -> None:
    found = read_plan(folder)
    assert set(actions(found)) == {"tenant/acme", WEB, DEPLOYMENT}
    assert all(item == ["create"] for item in actions(found).values())
    assert (found["summary"]["add"], found["summary"]["is_empty"]) == (3, False)


def test_json_of_a_new_version_updates_with_before_and_after(applied: Folder) -> None:
    applied.write(web("2"))
    found = read_plan(applied)
    assert actions(found) == {DEPLOYMENT: ["update"]}
    (row,) = found["resource_changes"]
    assert row["change"]["before"]["env"] == {"VERSION": "1"}
    assert row["change"]["after"]["env"] == {"VERSION": "2"}
    assert (row["type"], row["name"], row["action_reason"]) == (
        "deployment",
        "web",
        "env VERSION changed",
    )


def test_json_of_a_removal_deletes(applied: Folder) -> None:
    applied.write(web() + web(name="zen"))
    applied.ok("apply", "-y")
    applied.write(web(name="zen"))
    found = read_plan(applied)
    assert actions(found) == {item: ["delete"] for item in ("tenant/acme", WEB, DEPLOYMENT)}
    assert found["summary"]["destroy"] == 3


def test_json_of_what_is_held_back_is_no_op_and_says_why(applied: Folder) -> None:
    applied.write("")
    found = read_plan(applied, code=5)
    assert found["refusals"][0]["code"] == "empty-desired"
    assert found["summary"]["destroy"] + found["summary"]["blocked"] == 3


def test_json_of_drift_names_what_moved(applied: Folder) -> None:
    world = applied.root / "state" / "crash" / "world.json"
    raw = json.loads(world.read_text())
    raw["replicas"].pop()
    world.write_text(json.dumps(raw))
    found = read_plan(applied)
    (drift,) = found["resource_drift"]
    assert drift["address"] == WEB and drift["is_corrected"] is True
    assert actions(found) == {WEB: ["update"]}


def test_json_is_whole_even_where_nothing_can_be_planned(folder: Folder) -> None:
    (folder.repo / "ctrlplane.yaml").write_text("kind: [")
    found = read_plan(folder, code=65)
    assert found["resource_changes"] == [] and found["diagnostics"]
    assert folder.errors == ""


def test_a_comment_says_why_nothing_could_be_planned(folder: Folder) -> None:
    (folder.repo / "ctrlplane.yaml").write_text("kind: [")
    assert folder.run("plan", "--format", "markdown") == 65
    assert "in the specs" in folder.output and "[yaml-syntax]" in folder.output


def test_every_action_has_terraforms_words() -> None:
    spec = '{"replicas":1}'
    sides = {
        ChangeAction.CREATE: (["create"], None, spec),
        ChangeAction.UPDATE: (["update"], spec, spec),
        ChangeAction.REPLACE: (["delete", "create"], spec, spec),
        ChangeAction.DELETE: (["delete"], spec, None),
        ChangeAction.ADOPT: (["no-op"], None, spec),
        ChangeAction.KEEP: (["no-op"], spec, spec),
    }
    changes = tuple(
        Change(
            instance_key("acme", str(action)), action, "why", before_json=before, after_json=after
        )
        for action, (_, before, after) in sides.items()
    )
    found = plan_as_json(Plan(PlanHeader("prod", "", "", None, 6), changes))
    validate(found, PLAN)
    assert actions(found) == {
        f"instance/acme/{action}": sides[action][0] for action in ChangeAction
    }


# Exit codes


@pytest.mark.parametrize("output", ["text", "json", "markdown"])
def test_detailed_exit_code_is_two_only_where_something_would_change(
    folder: Folder, output: str
) -> None:
    arguments = ("plan", "--detailed-exitcode", "--format", output)
    assert folder.run(*arguments) == 2
    assert folder.run(*arguments[:1], *arguments[2:]) == 0
    folder.ok("apply", "-y")
    assert folder.run(*arguments) == 0
    assert output == "json" or NOTHING in folder.output


def test_errors_come_before_changes(folder: Folder) -> None:
    folder.write(web() + BROKEN)
    assert folder.run("plan", "--detailed-exitcode") == 65
    assert "Plan: 3 to add" in folder.output


def test_nothing_to_change_beside_errors_is_not_called_a_match(applied: Folder) -> None:
    (applied.repo / "bad.yaml").write_text("kind: [")
    assert applied.run("plan") == 65
    assert NOTHING not in applied.output
    assert applied.output.endswith("No changes in what is sound; 1 error in the specs.\n")


def test_an_apply_that_did_not_wait_does_not_say_complete(folder: Folder) -> None:
    text = web().replace("minReady: 0s", "minReady: 25s")
    text = text.replace("healthyDeadline: 20s", "healthyDeadline: 28s")
    folder.write(text)
    said = folder.ok("apply", "-y", "--detach")
    assert said.endswith("\nApply left off: 1 rollout is under way; apply again goes on.\n")
    assert "progressing" in folder.ok("status")


# The plan's file


def save(folder: Folder, *arguments: str) -> Path:
    path = folder.root / "plan.json"
    folder.ok("plan", "--out", str(path), *arguments)
    return path


def test_the_file_is_private_and_does_what_it_says(folder: Folder) -> None:
    path = save(folder)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert folder.errors == f"Saved the plan to {path}\n"
    assert "Apply complete! Resources: 3 added" in folder.ok("apply", str(path))
    assert folder.ok("plan").endswith(f"{NOTHING}\n")
    assert folder.run("apply", str(path)) == 6
    assert "error: the saved plan is stale: " in folder.errors


def test_no_file_is_written_of_invalid_specs(folder: Folder) -> None:
    folder.write(web() + BROKEN)
    path = folder.root / "plan.json"
    assert folder.run("plan", "--out", str(path)) == 65
    assert "a plan is only saved when the specs are valid" in folder.errors
    assert not path.exists()


def test_a_place_that_cannot_be_written_is_told_with_its_cause(folder: Folder) -> None:
    assert folder.run("plan", "--out", "/proc/none/plan.json") == 64
    assert folder.errors == "error: cannot write /proc/none/plan.json: no such file or directory\n"


def test_a_plan_of_a_removal_removes_when_it_is_applied(applied: Folder) -> None:
    path = save(applied, "--destroy")
    assert "3 destroyed" in applied.ok("apply", str(path))


def test_flags_of_the_plan_hold_when_it_is_applied(folder: Folder) -> None:
    folder.write(web() + web(name="zen"))
    path = save(folder, "--target", "*/zen*")
    folder.ok("apply", str(path))
    assert {item["address"]: item["release"] for item in status(folder)} == {
        WEB: None,
        "instance/zen/web": 1,
    }


def status(folder: Folder) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(folder.ok("status", "--json"))["instances"]
    return found


def test_another_flag_beside_the_file_is_refused_and_the_same_one_is_not(folder: Folder) -> None:
    path = save(folder, "--max-delete", "5")
    assert folder.run("apply", str(path), "--max-delete", "6") == 64
    assert folder.errors.startswith("error: --max-delete cannot change a saved plan\n")
    folder.environ["CTRLPLANE_MAX_DELETE"] = "5"
    folder.ok("apply", str(path))


@pytest.mark.parametrize(
    ("change", "code", "cause"),
    [
        (lambda raw: raw.update(version=2), 64,
         "the plan file has version 2, this program reads 1"),
        (lambda raw: raw.update(format="other"), 64, "this is not a plan file"),
        (lambda raw: raw.pop("changes"), 64, "the plan file is damaged"),
        (lambda raw: raw.update(changes=[1]), 64, "the plan file is damaged"),
        (lambda raw: raw["header"].update(x=1), 64, "the plan file is damaged"),
        (lambda raw: raw["options"].update(target=5), 64, "the plan file is damaged"),
        (lambda raw: raw["options"].update(target="*"), 64, "the plan file is damaged"),
        (lambda raw: raw["options"].update(target=[5]), 64, "the plan file is damaged"),
        (lambda raw: raw["options"].update(ref=5), 64, "the plan file is damaged"),
        (lambda raw: raw["options"].update(max_delete="9"), 64, "the plan file is damaged"),
        (lambda raw: raw["options"].update(max_delete=True), 64, "the plan file is damaged"),
        (lambda raw: raw["options"].update(destroy=1), 64, "the plan file is damaged"),
        (lambda raw: raw["header"].update(plane="other"), 6,
         "the saved plan is stale: control plane other became crash"),
        (lambda raw: raw["header"].update(is_destroy=True), 6,
         "the saved plan is stale: one plan destroys and the other does not"),
    ],
)  # fmt: skip
def test_a_file_that_was_tampered_with_changes_nothing(
    folder: Folder, change: Any, code: int, cause: str
) -> None:
    path = save(folder)
    raw = json.loads(path.read_text())
    change(raw)
    path.write_text(json.dumps(raw))
    assert folder.run("apply", str(path)) == code
    first, *hint = folder.errors.splitlines()
    assert first == f"error: {cause}" and len(hint) == 1
    assert not (folder.root / "state" / "crash" / "world.json").exists()


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (None, "cannot read the plan file {path}: no such file or directory"),
        (b"\xff\xfe", "cannot read the plan file {path}: it is not text"),
        (b"", "this is not a plan file"),
        (b"[" * 100_000, "this is not a plan file"),
    ],
)
def test_a_file_that_is_no_plan_is_told_from_one(
    folder: Folder, content: bytes | None, cause: str
) -> None:
    path = folder.root / "plan.json"
    if content is not None:
        path.write_bytes(content)
    assert folder.run("apply", str(path)) == 64
    assert folder.errors.splitlines()[0] == f"error: {cause.format(path=path)}"


def test_who_asks_for_what_was_built_keeps_it(applied: Folder) -> None:
    built: list[object] = []
    arguments = ["--chdir", str(applied.repo), "plan"]
    assert main(arguments, applied.environ, out=StringIO(), err=StringIO(), built=built) == 0
    assert any(isinstance(item, Look) for item in built)
