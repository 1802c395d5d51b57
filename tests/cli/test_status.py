"""``status``, ``get``, ``history`` and ``events`` as people and programs read them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from jsonschema import validate

from tests.cli.contract import STATUS
from tests.cli.folder import WEB, Folder, steady, web
from tests.e2e.crash_kit import MEMORY

Check = Callable[[str, str], None]
NEVER_READY = "{type: memory, path: world.json, neverReady: [instance/zen/web]}"
IDLE = (
    "apiVersion: ctrlplane.dev/v1\nkind: Instance\nmetadata: {tenant: acme, name: db}\n"
    "spec: {}\n---\n"
)


@pytest.fixture
def mixed(tmp_path: Path) -> Folder:
    """A tenant that runs, one whose release fails, one that is suspended, one not applied yet."""
    made = Folder(tmp_path / "world", replace(MEMORY, provider=NEVER_READY))
    port = "spec:\n  ports: [{name: http, port: 80}]\n  replicas"
    acme = web().replace("spec:\n  replicas", port) + IDLE
    kim = web(name="kim").replace("spec: {}", "spec: {suspended: true}")
    zen = web(name="zen").replace("healthyDeadline: 20s", "healthyDeadline: 100ms")
    made.write(acme + kim + zen)
    assert made.run("apply", "-y") == 3, made.errors
    made.write(acme + kim + zen + web(name="new"))
    return made


def test_status_reads_as_text(mixed: Folder, check_golden: Check) -> None:
    check_golden("status.txt", mixed.ok("status"))


def test_status_reads_as_json(mixed: Folder, check_golden: Check) -> None:
    text = mixed.ok("status", "--json")
    validate(json.loads(text), STATUS)
    check_golden("status.json", text)


def test_status_without_instances_says_so(folder: Folder) -> None:
    folder.write("")
    assert folder.ok("status") == "Control plane crash @ no commit\nNo instances.\n"


def test_status_goes_on_without_what_is_broken_and_says_so(applied: Folder) -> None:
    applied.write(web().replace("replicas: 2", "replcias: 2"))
    assert f"{WEB}  running" in applied.ok("status")
    assert applied.errors == (
        "warning: 1 error in the specs; ctrlplane-gitops validate lists them\n"
    )


def test_a_provider_that_does_not_answer_is_unknown_not_absent(applied: Folder) -> None:
    applied.runtime = replace(MEMORY, provider="{type: memory, gap: 'no route'}")
    applied.write(web())
    (found,) = json.loads(applied.ok("status", "--json"))["instances"]
    assert (found["phase"], found["replicas"]) == (
        "unknown",
        {"desired": 2, "ready": 0, "owner": "specs"},
    )
    assert found["conditions"][0]["status"] == "Unknown"
    assert applied.errors == "warning: provider local did not answer: no route\n"


# get


ALL = ["deployment/acme/web", "instance/acme/web", "tenant/acme"]


@pytest.mark.parametrize(
    ("what", "found"),
    [
        ([], ALL),
        (["instance"], [WEB]),
        (["tenants"], ["tenant/acme"]),
        ([WEB], [WEB]),
        (["*/acme/*"], ALL[:2]),
        (["*"], ALL),
        (["route"], []),
    ],
)
def test_get_finds_by_kind_address_and_glob(
    folder: Folder, what: list[str], found: list[str]
) -> None:
    text = folder.ok("get", *what)
    assert [line.split()[0] for line in text.splitlines()[1:]] == found
    assert folder.errors == ("" if found else "nothing found\n")
    listed = json.loads(folder.ok("get", *what, "--json"))["resources"]
    assert [item["address"] for item in listed] == found


def test_get_says_where_it_stands_and_what_it_is(folder: Folder) -> None:
    (item,) = json.loads(folder.ok("get", WEB, "--json"))["resources"]
    assert item["origin"] == "specs.yaml:6:1"
    assert (item["spec"]["replicas"], item["spec"]["provider"]) == (2, "local")


def test_get_of_what_is_not_there_is_wrong_usage(folder: Folder) -> None:
    assert folder.run("get", "instance/acme/nope") == 64
    assert folder.output == ""
    assert folder.errors.splitlines()[0] == "error: instance/acme/nope matches nothing"
    assert "give a kind (tenant, " in folder.errors


# history and events


def test_history_reads_as_it_did(applied: Folder, check_golden: Check) -> None:
    applied.write(web("2"))
    applied.ok("apply", "-y")
    check_golden("history.txt", steady(applied.ok("history", WEB)))
    check_golden("audit.txt", steady(applied.ok("history", "--audit")))
    check_golden("events.txt", steady(applied.ok("events")))


def test_history_of_a_deployment_is_its_instance_s(applied: Folder) -> None:
    by_instance = json.loads(applied.ok("history", WEB, "--json"))
    assert json.loads(applied.ok("history", "deployment/acme/web", "--json")) == by_instance
    (release,) = by_instance["releases"]
    assert (release["release"], release["state"], release["image"]) == (1, "active", "app")


def test_the_audit_names_who_and_what(applied: Folder) -> None:
    entries = json.loads(applied.ok("history", "--audit", "--json"))["audit"]
    assert {item["address"] for item in entries} == set(ALL)
    assert {(item["actor"], item["action"], item["outcome"]) for item in entries} == {
        ("user:tester", "create", "done")
    }
    only = json.loads(applied.ok("history", WEB, "--audit", "--json"))["audit"]
    assert [item["address"] for item in only] == [WEB]
    assert len(json.loads(applied.ok("history", "--audit", "--limit", "2", "--json"))["audit"]) == 2


def test_events_are_the_newest_by_address_and_type(applied: Folder) -> None:
    def types(*arguments: str) -> list[str]:
        found = json.loads(applied.ok("events", "--json", *arguments))["events"]
        return [item["type"] for item in found]

    every = types()
    assert every[0] == "apply.started" and every[-1] == "apply.ended"
    assert types("--limit", "1") == ["apply.ended"]
    assert types(WEB, "--type", "rollout") == ["rollout.started", "rollout.completed"]
    assert types("instance/acme/nope") == []


@pytest.mark.parametrize(
    ("arguments", "said"), [(["events"], "no events"), (["history", "--audit"], "no entries")]
)
def test_nothing_recorded_is_said_and_no_error(
    folder: Folder, arguments: list[str], said: str
) -> None:
    assert folder.ok(*arguments) == ""
    assert folder.errors.startswith(said)


@pytest.mark.parametrize(
    ("address", "cause"),
    [
        ("nonsense", "'nonsense' is not an address such as 'instance/acme/web'"),
        ("tenant/acme", "tenant/acme is not an instance"),
        ("instance/acme/nope", "nothing is recorded of instance/acme/nope"),
    ],
)
def test_history_of_nothing_says_why(applied: Folder, address: str, cause: str) -> None:
    assert applied.run("history", address) == 64
    assert applied.errors.splitlines()[0] == f"error: {cause}"


# logs and exec


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (["logs", "instance/acme/nope"], "there is no replica of instance/acme/nope"),
        (["logs", WEB, "--replica", "7"], f"there is no replica 7 of {WEB}"),
        (["exec", WEB, "--replica", "7", "--", "ls"], f"there is no replica 7 of {WEB}"),
        (["exec", "instance/acme/nope", "--", "ls"], "there is no replica of instance/acme/nope"),
        (["logs", WEB], "the memory provider has no capability 'logs'"),
        (["exec", WEB, "--", "ls"], "the memory provider has no capability 'exec'"),
    ],
)
def test_what_is_not_there_has_no_inside(applied: Folder, arguments: list[str], cause: str) -> None:
    assert applied.run(*arguments) == 1
    assert applied.errors.splitlines()[0] == f"error: {cause}"
    assert applied.output == ""


def test_exec_without_a_command_is_wrong_usage(applied: Folder) -> None:
    assert applied.run("exec", WEB) == 64
    assert applied.errors.splitlines()[0] == "error: exec needs a command"


def test_inside_of_a_silent_provider_is_unreachable(applied: Folder) -> None:
    applied.runtime = replace(MEMORY, provider="{type: memory, gap: 'no route'}")
    applied.write(web())
    assert applied.run("logs", WEB) == 69
    assert applied.errors == "error: provider local did not answer: no route\n"
