"""One exit code per outcome: what is wrong is never hidden by what went well."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from datetime import datetime, timedelta
from threading import Event

import pytest
from jsonschema import validate

from ctrlplane_gitops import errors
from ctrlplane_gitops.cli.exit_codes import MEANINGS, ExitCode, exit_of_apply, exit_of_plan
from ctrlplane_gitops.cli.main import main
from ctrlplane_gitops.errors import CtrlplaneError, ImageError, ProviderError, UnreachableError
from ctrlplane_gitops.execute.part import ApplyResult, Ending, WorkResult
from ctrlplane_gitops.execute.step import WorkState
from ctrlplane_gitops.plan.change import Blocked, Change, ChangeAction, Drift, Plan, PlanHeader
from ctrlplane_gitops.state.key import instance_key
from tests.cli.contract import APPLY
from tests.cli.folder import ROOT, Folder, web
from tests.e2e.crash_kit import MEMORY

KEY = instance_key("acme", "web")
EMPTY = Plan(PlanHeader("prod", "", "", None, 0))
CHANGED = replace(EMPTY, changes=(Change(KEY, ChangeAction.UPDATE, "why"),))
DRIFTED = replace(EMPTY, drift=(Drift(KEY, (), "replicas 3 -> 2", is_corrected=False),))
REFUSED = replace(EMPTY, refusals=(Blocked("prune-limit", "", ""),))


def blocked(code: str) -> Plan:
    return replace(
        EMPTY, changes=(Change(KEY, ChangeAction.UPDATE, "", blocked=Blocked(code, "", "")),)
    )


def result(*states: WorkState | CtrlplaneError, ending: Ending = Ending.COMPLETE) -> ApplyResult:
    """An error stands for a work that failed with it."""
    works = [
        WorkResult(KEY, WorkState.FAILED, error=item)
        if isinstance(item, CtrlplaneError)
        else WorkResult(KEY, item)
        for item in states
    ]
    return ApplyResult(ending, tuple(works), 0)


DONE, FAILED = WorkState.DONE, WorkState.FAILED

# What a blocked row means for the exit code of an apply in which all else went well.
OF_BLOCKED = {
    "bad-release": ExitCode.ROLLED_BACK,
    "protected": ExitCode.REFUSED,
    "quota": ExitCode.REFUSED,
    "mass-recreate": ExitCode.REFUSED,
    "prune-limit": ExitCode.REFUSED,
    "empty-desired": ExitCode.REFUSED,
    "provider-gone": ExitCode.REFUSED,
    "provider-changed": ExitCode.OK,  # only ever refuses the whole plan
    "router-changed": ExitCode.OK,  # the same
    "router-gap": ExitCode.OK,  # is_blind says it
    "identity-lost": ExitCode.PARTIAL,
    "prune-off": ExitCode.OK,  # asked for
    "adopted": ExitCode.OK,  # it waits for its commit
    "gap": ExitCode.OK,  # is_blind says it
    "frozen": ExitCode.OK,  # is_valid says it
    "incomplete": ExitCode.OK,  # is_valid says it
}


def test_every_code_has_a_meaning() -> None:
    assert list(MEANINGS) == list(ExitCode)


def test_every_error_exits_with_a_code_that_is_listed() -> None:
    kinds = [item for item in vars(errors).values() if isinstance(item, type)]
    raised = {item: item.exit_code for item in kinds if issubclass(item, CtrlplaneError)}
    assert set(raised.values()) <= set(ExitCode) - {ExitCode.OK}
    drawn = dict(re.findall(r"(\w+Error) +(\d+)  ", errors.__doc__ or ""))
    assert {item.__name__: str(code) for item, code in raised.items()} == {
        **drawn,
        "CtrlplaneError": "1",
    }


@pytest.mark.parametrize(
    ("plan", "more", "code"),
    [
        (EMPTY, {}, ExitCode.OK),
        (CHANGED, {}, ExitCode.OK),
        (EMPTY, {"is_detailed": True}, ExitCode.OK),
        (CHANGED, {"is_detailed": True}, ExitCode.CHANGES),
        (DRIFTED, {"is_detailed": True}, ExitCode.CHANGES),
        (CHANGED, {"is_blind": True, "is_detailed": True}, ExitCode.UNREACHABLE),
        (REFUSED, {"is_blind": True, "is_detailed": True}, ExitCode.REFUSED),
        (blocked("protected"), {"is_detailed": True}, ExitCode.REFUSED),
        (REFUSED, {"is_valid": False}, ExitCode.INVALID),
    ],
)
def test_of_a_plan_the_worst_news_comes_first(
    plan: Plan, more: dict[str, bool], code: ExitCode
) -> None:
    options = {"is_blind": False, "is_valid": True, "is_detailed": False, **more}
    assert exit_of_plan(plan, **options) is code


@pytest.mark.parametrize(
    ("plan", "done", "more", "code"),
    [
        (EMPTY, result(), {}, ExitCode.OK),
        (CHANGED, result(DONE), {}, ExitCode.OK),
        (CHANGED, result(WorkState.STARTED), {}, ExitCode.OK),
        (CHANGED, result(DONE, WorkState.WAITING), {}, ExitCode.WAITING),
        (CHANGED, result(FAILED, WorkState.WAITING), {}, ExitCode.PARTIAL),
        (blocked("bad-release"), result(WorkState.WAITING), {}, ExitCode.ROLLED_BACK),
        (CHANGED, result(DONE, ending=Ending.LOST), {}, ExitCode.LOCKED),
        (CHANGED, result(DONE, ending=Ending.CANCELLED), {}, ExitCode.CANCELLED),
        (CHANGED, result(FAILED, ending=Ending.TIMED_OUT), {}, ExitCode.TIMED_OUT),
        (CHANGED, result(DONE, FAILED, WorkState.ROLLED_BACK), {}, ExitCode.ROLLED_BACK),
        (CHANGED, result(DONE, UnreachableError("x")), {}, ExitCode.PARTIAL),
        (CHANGED, result(DONE, WorkState.SKIPPED), {}, ExitCode.PARTIAL),
        (CHANGED, result(FAILED), {}, ExitCode.ERROR),
        (CHANGED, result(WorkState.SKIPPED), {}, ExitCode.ERROR),
        (CHANGED, result(UnreachableError("x")), {}, ExitCode.UNREACHABLE),
        (CHANGED, result(UnreachableError("x"), ImageError("y")), {}, ExitCode.ERROR),
        (CHANGED, replace(result(), errors=(ProviderError("x"),)), {}, ExitCode.ERROR),
        (CHANGED, replace(result(DONE), errors=(ProviderError("x"),)), {}, ExitCode.PARTIAL),
        (blocked("bad-release"), result(), {"is_valid": False}, ExitCode.ROLLED_BACK),
        (EMPTY, result(), {"is_valid": False}, ExitCode.PARTIAL),
        (EMPTY, result(), {"is_blind": True}, ExitCode.UNREACHABLE),
        (CHANGED, result(DONE), {"is_blind": True}, ExitCode.PARTIAL),
        (blocked("protected"), result(DONE), {"is_blind": True}, ExitCode.REFUSED),
    ],
)
def test_of_an_apply_the_worst_news_comes_first(
    plan: Plan, done: ApplyResult, more: dict[str, bool], code: ExitCode
) -> None:
    options = {"is_blind": False, "is_valid": True, **more}
    assert exit_of_apply(plan, done, **options) is code


@pytest.mark.parametrize("code", OF_BLOCKED)
def test_a_row_that_is_held_back_has_its_code(code: str) -> None:
    done = exit_of_apply(blocked(code), result(DONE), False, is_valid=True)
    assert done is OF_BLOCKED[code]


def test_no_reason_for_holding_back_was_forgotten() -> None:
    text = "".join(path.read_text() for path in (ROOT / "ctrlplane_gitops/plan").glob("*.py"))
    assert set(re.findall(r'Blocked\(\s*"([a-z-]+)"', text)) == set(OF_BLOCKED)


# Through the command line


def test_an_apply_that_cannot_reach_where_things_run_is_no_success(applied: Folder) -> None:
    text = (applied.repo / "ctrlplane.yaml").read_text()
    (applied.repo / "ctrlplane.yaml").write_text(text.replace("local:", "other:"))
    for arguments in (("plan",), ("apply", "-y")):
        assert applied.run(*arguments) == 5
        assert "provider local is not configured any more [provider-gone]" in applied.output


def test_a_silent_provider_is_unreachable(applied: Folder) -> None:
    applied.runtime = replace(MEMORY, provider="{type: memory, gap: 'no route'}")
    applied.write(web("2"))
    assert applied.run("plan") == 69
    assert applied.run("apply", "-y") == 69
    assert "Apply ended: a provider is unreachable" in applied.output


@pytest.mark.parametrize(
    ("options", "code", "states"),
    [
        ("", 0, {"done"}),
        ("neverReady: [instance/acme/web]", 4, {"rolledBack"}),
        ("failEffects: [1]", 0, {"done"}),
        ("missingImages: [app]", 4, {"rolledBack"}),
        ("gap: gone", 69, set()),
    ],
    ids=["done", "never ready", "an effect fails", "no image", "gap"],
)
def test_the_result_as_json_says_what_the_exit_code_says(
    applied: Folder, options: str, code: int, states: set[str]
) -> None:
    provider = f"{{type: memory, path: world.json, {options}}}"
    applied.runtime = replace(MEMORY, provider=provider)
    applied.write(web("2").replace("healthyDeadline: 20s", "healthyDeadline: 700ms"))
    assert applied.run("apply", "-y", "--json") == code, applied.errors
    found = json.loads(applied.output)
    validate(found, APPLY)
    assert (found["exit_code"], found["meaning"]) == (code, MEANINGS[ExitCode(code)])
    assert {item["state"] for item in found["results"]} == states


def test_keep_going_is_a_part(folder: Folder) -> None:
    folder.write(web() + web(name="zen").replace("replicas: 2", "replcias: 2"))
    assert folder.run("apply", "-y") == 65
    assert folder.errors.splitlines()[-1] == ("    --keep-going applies the tenants that are sound")
    assert folder.run("apply", "-y", "--keep-going") == 3
    assert "running" in folder.ok("status")


@pytest.mark.parametrize(
    ("verb", "code"),
    [("validate", 1), ("status", 1), ("get", 1), ("plan", 5), ("apply", 5), ("destroy", 5)],
)
def test_a_folder_that_is_not_there_is_named(folder: Folder, verb: str, code: int) -> None:
    assert folder.run(verb, "--chdir", "/no/such/folder") == code
    first, hint = folder.errors.splitlines()
    assert first.startswith("error: /no/such/folder does not exist") and hint.strip()


@pytest.mark.parametrize(
    ("arguments", "cause", "hint"),
    [
        (["--ref", "main", "plan"], "is not inside a Git repository", "leave --ref out"),
        (["--repo", "/no/such/repo", "plan"], "/no/such/repo does not exist", ""),
    ],
)
def test_a_source_that_is_none_is_an_error_with_its_cause(
    folder: Folder, arguments: list[str], cause: str, hint: str
) -> None:
    assert folder.run(*arguments) == 1
    assert cause in folder.errors and hint in folder.errors
    assert len(folder.errors.splitlines()) <= 2


@pytest.mark.parametrize(
    ("store", "cause"),
    [
        ("postgres://host/name", "stores in PostgreSQL are not available in this version"),
        (".", "cannot be opened: is a directory"),
        ("garbage.db", "is damaged: file is not a database"),
    ],
)
def test_a_store_that_is_none_is_told_with_the_way_out(
    folder: Folder, store: str, cause: str
) -> None:
    (folder.root / "state" / "crash").mkdir(parents=True)
    (folder.root / "state" / "crash" / "garbage.db").write_text("x" * 4096)
    folder.environ["CTRLPLANE_STORE"] = store
    for arguments in (("status",), ("events",), ("apply", "-y")):
        assert folder.run(*arguments) == 1
        first, hint = folder.errors.splitlines()
        assert cause in first and hint.strip()


# Bugs


class BrokenClock:
    """Has a bug, and a secret in its message."""

    def now(self) -> datetime:
        raise RuntimeError("hunter2")

    def wait(self, event: Event, timeout: timedelta) -> bool:
        raise AssertionError


@pytest.mark.parametrize("is_debug", [False, True])
def test_a_bug_says_which_and_where_and_shows_the_rest_only_when_asked(
    folder: Folder, is_debug: bool
) -> None:
    environ = {**folder.environ, "CTRLPLANE_DEBUG": "1"} if is_debug else folder.environ
    out, err = io.StringIO(), io.StringIO()
    arguments = ["--chdir", str(folder.repo), "plan"]
    assert main(arguments, environ, out=out, err=err, clock=BrokenClock()) == 70
    assert ("hunter2" in err.getvalue()) is is_debug
    assert ("Traceback" in err.getvalue()) is is_debug
    last = err.getvalue().splitlines()[-2:]
    assert re.fullmatch(
        r"error: this is a bug in ctrlplane-gitops: RuntimeError at \w+\.py:\d+", last[0]
    )
    assert last[1] == "    run it again with CTRLPLANE_DEBUG=1 and report what it prints"
