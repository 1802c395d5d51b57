"""What a command loads: the deterministic side of being quick, and of needing no extra."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.bench.fleet import Fleet, make_fleet, read_replicas
from tests.bench.stub import engine_stub
from tests.cli.folder import Folder, web
from tests.e2e.crash_kit import MEMORY

ROOT = Path(__file__).parents[2]

# Runs a command in a fresh interpreter and writes down the modules that it loaded.
_PROBE = """
import sys
before = set(sys.modules)
target, missing, arguments = sys.argv[1], sys.argv[2].split(), sys.argv[3:]
sys.modules.update(dict.fromkeys(missing))
from ctrlplane_gitops.cli.main import main
code = main(arguments)
loaded = sorted(name for name in set(sys.modules) - before if sys.modules[name])
open(target, "w").write("\\n".join(loaded))
sys.exit(code)
"""

# Modules of the standard library that cost a millisecond or more each.
HEAVY = {
    "asyncio", "ctypes", "dataclasses", "datetime", "decimal", "difflib", "email", "fractions",
    "hashlib", "http", "inspect", "json", "logging", "multiprocessing", "pathlib", "pydoc", "queue",
    "random", "socket", "sqlite3", "ssl", "subprocess", "tempfile", "threading", "unittest",
    "urllib", "uuid", "xml", "zipfile",
}  # fmt: skip


def load(
    root: Path,
    *arguments: str,
    environ: Mapping[str, str] | None = None,
    missing: str = "",
    code: int = 0,
) -> tuple[set[str], str]:
    """Modules loaded, and what was printed. ``missing`` cannot be imported."""
    target = root / "modules.txt"
    ran = subprocess.run(
        [sys.executable, "-c", _PROBE, str(target), missing, *arguments],
        cwd=ROOT, env=environ, capture_output=True, text=True,
    )  # fmt: skip
    assert ran.returncode == code, ran.stdout + ran.stderr
    return set(target.read_text().split()), ran.stdout + ran.stderr


def tops(modules: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in modules}


def foreign(modules: set[str]) -> set[str]:
    """Packages that are neither ours nor Python's."""
    return tops(modules) - sys.stdlib_module_names - {"ctrlplane_gitops"}


def ours(modules: set[str]) -> set[str]:
    return {name for name in modules if name.startswith("ctrlplane_gitops.")}


@pytest.mark.parametrize("arguments", [["--help"], ["plan", "--help"], ["--version"]])
def test_help_loads_what_it_prints_and_nothing_else(tmp_path: Path, arguments: list[str]) -> None:
    modules, _ = load(tmp_path, *arguments)
    assert foreign(modules) == set()
    assert tops(modules) & HEAVY == set()
    cli = {f"ctrlplane_gitops.cli.{name}" for name in ("flags", "main", "terminal", "verb")}
    assert ours(modules) == {"ctrlplane_gitops.cli", "ctrlplane_gitops.errors", *cli}


def test_wrong_usage_loads_no_more_than_what_suggests_a_word(tmp_path: Path) -> None:
    modules, _ = load(tmp_path, "plna", code=64)
    assert foreign(modules) == set()
    assert ours(modules) >= {"ctrlplane_gitops.diagnostics", "ctrlplane_gitops.redact"}
    assert not {name for name in ours(modules) if name.count(".") > 1} - {
        f"ctrlplane_gitops.cli.{name}" for name in ("flags", "main", "terminal", "verb")
    }


@pytest.mark.parametrize("arguments", [["completion", "bash"], ["init"]])
def test_verbs_that_look_at_nothing_load_no_library(tmp_path: Path, arguments: list[str]) -> None:
    where = ["--chdir", str(tmp_path / "new")]
    assert foreign(load(tmp_path, *arguments, *where)[0]) == set()


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Three instances on Docker and nothing else, applied; the engine is a stub."""
    root = tmp_path_factory.mktemp("fleet")
    socket = root / "engine.sock"
    made = make_fleet(root, 3, f'{{type: docker, host: "unix://{socket}"}}')
    with engine_stub(socket, read_replicas(made)):
        yield made


# Needed to act, never to look.
ACTING = ("execute.apply", "execute.run", "execute.perform", "execute.journal", "cli.apply",
          "reconcile.run", "providers.docker.acting", "providers.docker.engine",
          "store.migrations")  # fmt: skip


# Of the standard library, what a look has no use for and would wait for.
UNUSED = {"dataclasses", "decimal", "difflib", "fractions", "inspect", "queue", "random", "shutil",
          "tempfile"}  # fmt: skip


def test_a_plan_of_known_files_loads_no_library_at_all(fleet: Fleet) -> None:
    arguments = ("--chdir", str(fleet.repo), "plan", "--ref", "main")
    load(fleet.root, *arguments, environ=fleet.environ)
    modules, said = load(fleet.root, *arguments, environ=fleet.environ)
    assert "No changes." in said
    assert foreign(modules) == set()
    assert {name for name in ACTING if f"ctrlplane_gitops.{name}" in modules} == set()
    assert not {name for name in ours(modules) if ".providers.process" in name}
    assert tops(modules) & UNUSED == set()


def test_a_plan_loads_what_decides_only_when_it_has_asked_the_providers(tmp_path: Path) -> None:
    probe = "import sys, ctrlplane_gitops.cli.plan; print(*sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=True
    )
    deciding = ("catalog.build", "plan.compute", "reconcile.look", "rollout")
    assert not {name for name in deciding if f"ctrlplane_gitops.{name}" in ran.stdout.split()}


def test_a_plan_of_new_files_loads_the_parser_and_the_models_alone(fleet: Fleet) -> None:
    environ = {**fleet.environ, "CTRLPLANE_CACHE_DIR": str(fleet.root / "cold")}
    arguments = ("--chdir", str(fleet.repo), "plan", "--ref", "main")
    modules, said = load(fleet.root, *arguments, environ=environ)
    assert "No changes." in said
    # What begins with an underscore, and Cython's own, are parts of these.
    libraries = {name for name in foreign(modules) if not name.startswith(("_", "cython"))}
    assert libraries == {
        "annotated_types", "pydantic", "pydantic_core", "ruamel", "typing_extensions",
        "typing_inspection",
    }  # fmt: skip
    # Pydantic would look through every installed distribution for plugins.
    assert tops(modules) & {"email", "tempfile", "zipfile"} == set()
    # Nor a model of what no document has.
    unused = ("analysis", "canary", "certificates", "retention", "secret")
    assert modules & {f"ctrlplane_gitops.specs.{name}" for name in unused} == set()
    assert "importlib.metadata" not in modules


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    made = Folder(tmp_path / "world", MEMORY)
    made.write(web())
    return made


# What only serve needs


def test_no_other_verb_loads_what_serves(folder: Folder) -> None:
    arguments = ("--chdir", str(folder.repo))
    missing = "flask werkzeug waitress prometheus_client watchfiles"
    for verb in (("validate",), ("plan",), ("apply", "-y"), ("status",), ("events",), ("get",)):
        modules, _ = load(folder.root, *arguments, *verb, environ=folder.environ, missing=missing)
        assert not {name for name in ours(modules) if ".api" in name or ".workers" in name}


# gRPC


def test_only_who_asks_by_grpc_needs_the_extra(folder: Folder) -> None:
    specs, health = web("bad"), f"  health: {MEMORY.checks}\n"
    assert health in specs
    checked = "  ports: [{name: api, port: 80}]\n  health: [{type: grpc, timeout: 1s}]\n"
    folder.write(specs.replace(health, checked))
    arguments = ("--chdir", str(folder.repo))
    for verb in ("validate", "plan"):
        modules, _ = load(folder.root, *arguments, verb, environ=folder.environ, missing="grpc")
        assert "ctrlplane_gitops.health.grpc" not in modules
    wait = ("apply", "-y")
    _, said = load(folder.root, *arguments, *wait, environ=folder.environ, missing="grpc", code=1)
    assert "needs the Python package 'grpc' (pip install 'ctrlplane-gitops[grpc]')" in said


# The YAML parser


def test_specs_are_read_by_the_parser_in_c(folder: Folder) -> None:
    arguments = ("--chdir", str(folder.repo), "validate")
    modules, said = load(folder.root, *arguments, environ=folder.environ)
    assert tops(modules) & {"_ruamel_yaml", "_ruamel_yaml_clibz"}
    assert "slow-yaml-parser" not in said


def test_a_missing_parser_in_c_is_told_loudly_and_the_specs_mean_the_same(
    folder: Folder,
) -> None:
    arguments = ("--chdir", str(folder.repo), "validate")
    missing = "_ruamel_yaml _ruamel_yaml_clibz"
    modules, said = load(folder.root, *arguments, environ=folder.environ, missing=missing)
    assert not tops(modules) & set(missing.split())
    assert "warning: the YAML parser in C is missing" in said
    assert "pip install 'ruamel.yaml[libyaml]'" in said
    assert "Success! 4 documents are valid." in said


def test_a_cached_parse_asks_for_no_parser(folder: Folder) -> None:
    arguments = ("--chdir", str(folder.repo), "plan", "--json")
    _, first = load(folder.root, *arguments, environ=folder.environ)
    missing = "_ruamel_yaml _ruamel_yaml_clibz ruamel ruamel.yaml pydantic"
    _, second = load(folder.root, *arguments, environ=folder.environ, missing=missing)
    assert json.loads(first) == json.loads(second)
