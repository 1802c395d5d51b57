"""Who else does such a job on this machine: Terraform and Compose, where they are installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.bench.measure import Run, run_process
from tests.bench.raw import LABEL

_PLUGINS = (
    Path.home() / ".docker/cli-plugins",
    Path("/usr/local/lib/docker/cli-plugins"),
    Path("/usr/libexec/docker/cli-plugins"),
    Path("/usr/lib/docker/cli-plugins"),
)


_APPLIED = 3


class Terraform:
    """As many ``terraform_data`` resources as instances, with nothing left to do.

    Applying thousands takes minutes of every processor, so the first few are applied, and of the
    others is written into the state what it says of those. Whether it believes that its plan says:
    any other is an AssertionError."""

    def __init__(self, program: str, folder: Path, size: int) -> None:
        self._program = program
        self._folder = folder
        folder.mkdir(parents=True)
        empty = folder / "empty.tfrc"
        empty.touch()
        self._environ = {**os.environ, "TF_CLI_CONFIG_FILE": str(empty), "CHECKPOINT_DISABLE": "1"}
        self._write(min(size, _APPLIED))
        for arguments in (["init", "-no-color"], ["apply", "-auto-approve", "-no-color"]):
            run_process([program, *arguments], self._environ, folder)
        if size > _APPLIED:
            self._extend(size)

    def _write(self, size: int) -> None:
        blocks = {_name(number): {"input": _input(number)} for number in range(size)}
        document = {"resource": {"terraform_data": blocks}}
        (self._folder / "main.tf.json").write_text(json.dumps(document))

    def _extend(self, size: int) -> None:
        place = self._folder / "terraform.tfstate"
        state = json.loads(place.read_text())
        applied = state["resources"]
        for number, resource in enumerate(applied):
            (instance,) = resource["instances"]
            assert resource == _copy(applied[0], number, instance["attributes"]["id"])
        state["resources"] = applied + [
            _copy(applied[0], number, str(uuid4())) for number in range(len(applied), size)
        ]
        place.write_text(json.dumps(state, indent=2))
        self._write(size)

    def plan(self) -> Run:
        run, output = run_process([self._program, "plan", "-no-color"], self._environ, self._folder)
        assert "No changes" in output, output[-300:]
        return run


def find_terraform() -> str | None:
    return shutil.which("terraform")


class Compose:
    """A project of one service per instance on the engine at ``socket``. ``services`` are what
    each of them says; everything of the project carries ``labels``."""

    def __init__(
        self,
        program: Path,
        folder: Path,
        socket: str,
        services: Mapping[str, Mapping[str, Any]],
        labels: Mapping[str, str],
    ) -> None:
        folder.mkdir(parents=True)
        document = {"services": services, "networks": {"default": {"labels": labels}}}
        (folder / "compose.json").write_text(json.dumps(document))
        self._environ = {**os.environ, "DOCKER_HOST": f"unix://{socket}"}
        # Drawing progress is not part of the work.
        name = f"compose-{labels[LABEL]}"
        self._command = [str(program), "-p", name, "-f", str(folder / "compose.json")]
        self._command += ["--progress", "quiet"]

    def create(self) -> Run:
        """Create what is missing, start nothing."""
        return run_process([*self._command, "create"], self._environ)[0]

    def up(self) -> Run:
        return run_process([*self._command, "up", "-d"], self._environ)[0]


def find_compose() -> Path | None:
    """Compose version 2 as the extra ``bench`` brings it: the program itself, without the Python
    around it, which would be measured as well. Else the plug-in of the docker command."""
    package = find_spec("compose")
    places = list(package.submodule_search_locations or ()) if package else []
    found = [Path(place) / "docker-compose" for place in places]
    found += [folder / "docker-compose" for folder in _PLUGINS]
    for program in found:
        if program.is_file():
            asked = subprocess.run([program, "version"], capture_output=True, check=False)
            if asked.returncode == 0 and b"v2." in asked.stdout:
                return program
    return None


def version_of(program: str | Path) -> str:
    """The first line of what it says about itself."""
    asked = subprocess.run([program, "version"], capture_output=True, text=True, check=False)
    return asked.stdout.partition("\n")[0].strip()


def _copy(resource: Mapping[str, Any], number: int, id: str) -> dict[str, Any]:
    """The same resource of the state, as if it had been applied of another block."""
    (instance,) = resource["instances"]
    attributes = dict(instance["attributes"], id=id)
    for name in ("input", "output"):
        attributes[name] = {**attributes[name], "value": _input(number)}
    return {
        **resource,
        "name": _name(number),
        "instances": [{**instance, "attributes": attributes}],
    }


def _name(number: int) -> str:
    return f"i{number:05d}"


def _input(number: int) -> dict[str, object]:
    return {
        "tenant": f"t{number % 100:03d}",
        "replicas": 1,
        "resources": {"cpu": "250m", "memory": "128Mi"},
        "ports": [{"name": "http", "port": 8080}],
        "env": {"GREETING": "Hello", "LOG_LEVEL": "info", "NUMBER": str(number)},
        "image": "ctrlplane-test-app:1",
    }
