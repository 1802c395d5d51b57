"""The README against the code: what it lists exists, and what exists is listed."""

import re
import textwrap
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from ctrlplane_gitops.api.errors import status_of
from ctrlplane_gitops.auth.roles import LEAST_ROLE, Permission
from ctrlplane_gitops.cli.exit_codes import MEANINGS, ExitCode
from ctrlplane_gitops.cli.flags import APPLY, COMMON, DESTROY, PLAN
from ctrlplane_gitops.cli.verb import VERBS
from ctrlplane_gitops.errors import CtrlplaneError, DeliveryError
from ctrlplane_gitops.events.event import EventType
from ctrlplane_gitops.events.notice import RULES
from ctrlplane_gitops.providers.registry import PROVIDER_TYPES
from ctrlplane_gitops.specs.retention import RetentionSpec
from ctrlplane_gitops.specs.validate import parse
from ctrlplane_gitops.state.access import Role
from ctrlplane_gitops.state.analysis import MetricType
from ctrlplane_gitops.state.desired import Retention, RolloutParams, StrategyType
from ctrlplane_gitops.units import format_duration

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
SOURCES = "\n".join(path.read_text() for path in (ROOT / "ctrlplane_gitops").rglob("*.py"))


def section(title: str) -> str:
    return README.split(f"\n## {title}\n")[1].split("\n## ")[0]


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_every_verb_is_described(verb) -> None:
    assert re.search(rf"`{verb.name}\b", section("Verbs"))


@pytest.mark.parametrize("code", list(ExitCode), ids=lambda code: str(int(code)))
def test_every_exit_code_is_listed_with_its_meaning(code: ExitCode) -> None:
    row = re.search(rf"^\| {int(code)} \| (.*) \|$", section("Exit codes"), re.MULTILINE)
    assert row is not None
    assert row[1].replace("`", "").startswith(MEANINGS[code])


def test_every_event_is_listed_and_no_other() -> None:
    listed = set(re.findall(r"`([a-z]+\.[A-Za-z]+)`", section("Events")))
    assert listed == {item.value for item in EventType}


def test_every_setting_the_code_reads_is_listed() -> None:
    flags = {item.variable for item in (*COMMON, *PLAN, *APPLY, *DESTROY)}
    read = set(re.findall(r"\"(CTRLPLANE_[A-Z_]+)\"", SOURCES)) - flags
    ours = {name for name in read if not name.endswith("_") and not name.startswith(REPLICA)}
    assert ours == set(re.findall(r"`(CTRLPLANE_[A-Z_]+)`", section("Settings")))


def test_what_each_role_may_is_the_code_s() -> None:
    cells = section("Serving").split(f"| {' | '.join(Role)} |\n")[1].split("\n")[1]
    listed = [set(re.findall("`([a-z-]+)`", cell)) for cell in cells.strip("|").split("|")]
    assert listed == [{item for item in Permission if LEAST_ROLE[item] is role} for role in Role]


def test_every_error_is_listed_with_its_status() -> None:
    table = section("Serving").split("| status | code |\n|---|---|\n")[1].split("\n\n")[0]
    listed = {
        code: int(row.split("|")[1])
        for row in table.splitlines()
        for code in re.findall(r"`([a-z-]+)`", row.split("|")[2])
    }
    # A delivery brings its own status.
    kinds = [CtrlplaneError, *(item for item in _below(CtrlplaneError) if item != DeliveryError)]
    assert {kind.code: status_of(kind("why")) for kind in kinds}.items() <= listed.items()


def _below(kind: type) -> list[type]:
    return [item for sub in kind.__subclasses__() for item in (sub, *_below(sub))]


def test_the_example_of_an_analysis_is_sound() -> None:
    block = section("Kinds").split("```yaml\n")[1].split("```")[0]
    head = "apiVersion: ctrlplane.dev/v1\nkind: Deployment\nmetadata: {tenant: acme, name: web}\n"
    spec = "spec:\n  instance: web\n  image: shop:1\n  strategy:\n    type: canary\n    canary:\n"
    text = head + spec + textwrap.indent(block, " " * 6)
    documents, diagnostics = parse({"web.yaml": text.encode()})
    assert not diagnostics
    checks = documents[0].spec["strategy"]["canary"]["analysis"]["checks"]
    listed = re.findall(r"^\| `([a-z]+)` \| [^|]+ \| [^|]+ \|$", section("Kinds"), re.MULTILINE)
    assert {item["type"] for item in checks} == set(MetricType) == set(listed) & set(MetricType)


def test_the_example_of_notifications_is_sound() -> None:
    block = section("Notifications").split("```yaml\n")[1].split("```")[0]
    head = "apiVersion: ctrlplane.dev/v1\nkind: ControlPlane\nmetadata: {name: prod}\nspec:\n"
    text = head + textwrap.indent(block, "  ")
    documents, diagnostics = parse({"ctrlplane.yaml": text.encode()})
    assert not diagnostics
    assert documents[0].spec["notifications"][0]["name"] == "ops"


def test_what_ends_a_failure_is_what_the_code_says() -> None:
    rows = re.findall(r"^ +\| (`[^|]+) \| (`[^|]+) \|$", section("Notifications"), re.MULTILINE)
    listed = {
        (failure, end)
        for failures, ends in rows
        for failure in re.findall(r"`([^`]+)`", failures)
        for end in re.findall(r"`([^`]+)`", ends)
    }
    assert listed == {
        (str(failure.type), str(end.type))
        for failure in RULES
        for end in RULES
        if failure.kind in end.ends
    }


# What a replica finds in its own environment is no setting.
REPLICA = (
    "CTRLPLANE_PLANE",
    "CTRLPLANE_TENANT",
    "CTRLPLANE_INSTANCE",
    "CTRLPLANE_RELEASE",
    "CTRLPLANE_REVISION",
    "CTRLPLANE_REPLICA",
    "CTRLPLANE_KEEPER",
    "CTRLPLANE_ROOT",
)


@pytest.mark.parametrize("type", PROVIDER_TYPES)
def test_every_provider_is_described(type: str) -> None:
    assert f"| `{type}` |" in section("Providers")


def test_the_defaults_of_strategies_are_the_code_s() -> None:
    params = RolloutParams()
    common = section("Kinds").split("**Strategies.**")[1].split(".\n")[0]
    assert fields_with_defaults(common) == {
        "minReady": format_duration(params.min_ready),
        "healthyDeadline": format_duration(params.healthy_deadline),
        "progressDeadline": format_duration(params.progress_deadline),
        "drainTimeout": format_duration(params.drain_timeout),
        "stopTimeout": format_duration(params.stop_timeout),
        "autoRollback": str(params.is_auto_rollback).lower(),
        "revisionHistoryLimit": str(params.revision_history_limit),
    }


@pytest.mark.parametrize("strategy", list(StrategyType), ids=str)
def test_the_defaults_of_each_strategy_are_the_code_s(strategy: StrategyType) -> None:
    params = RolloutParams()
    row = re.search(rf"^\| `{strategy}` \| [^|]+ \|([^|]*)\|$", section("Kinds"), re.MULTILINE)
    assert row is not None
    assert fields_with_defaults(row[1]) == {
        StrategyType.ROLLING: {
            "maxSurge": str(params.max_surge),
            "maxUnavailable": str(params.max_unavailable),
        },
        StrategyType.BLUE_GREEN: {
            "autoPromote": str(params.is_auto_promote).lower(),
            "scaleDownDelay": format_duration(params.scale_down_delay),
            "bakeTime": format_duration(params.bake_time),
        },
        StrategyType.CANARY: {},
        StrategyType.RECREATE: {},
    }.get(strategy)


def test_the_defaults_of_retention_are_the_code_s() -> None:
    text = section("Serving").split("| `retention` |")[1].split("\n\n")[0]
    found = dict(re.findall(r"^\| `(\w+)` \| .* \((\w+)\) \|$", text, re.MULTILINE))
    kept = {
        item.name: format_duration(getattr(Retention(), item.name)) for item in fields(Retention)
    }
    assert found == kept
    model = {name: item.default for name, item in RetentionSpec.model_fields.items()}
    assert model == kept


def test_the_default_steps_of_a_canary_are_the_code_s() -> None:
    steps = [
        f"{step.weight} %" + (f" {format_duration(step.pause)}" if step.pause else "")
        for step in RolloutParams().canary_steps
    ]
    assert f"(default {', '.join(steps)})" in " ".join(section("Kinds").split())


def fields_with_defaults(text: str) -> dict[str, str]:
    """``maxSurge`` (25%, rounded up) and ``minReady`` 10s, by name; those without are none."""
    return dict(re.findall(r"`(\w+)` \(?(\w+%?)", text))


def test_every_folder_of_the_package_is_on_the_map() -> None:
    folders = {path.parent.name for path in (ROOT / "ctrlplane_gitops").glob("*/__init__.py")}
    assert folders == set(re.findall(r"\b([a-z]+)/ ", section("Where things live"))) & folders


def test_the_starter_and_the_quickstart_are_the_same() -> None:
    starter, quickstart = ROOT / "ctrlplane_gitops/cli/starter", ROOT / "examples/quickstart"

    def read(root: Path) -> dict[str, bytes]:
        return {
            str(path.relative_to(root)): path.read_bytes()
            for path in sorted(root.rglob("*"))
            if path.is_file() and "__pycache__" not in path.parts
        }

    assert read(starter) == read(quickstart)


def test_every_dependency_has_a_floor() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    asked = [*project["dependencies"], *(item for items in extras.values() for item in items)]
    assert [item for item in asked if ">=" not in item and "ctrlplane" not in item] == []
    assert set(extras) >= {"docker", "kubernetes", "aws", "postgres", "router", "all", "dev"}
