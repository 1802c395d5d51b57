"""Who else does such a job on this machine: Terraform and Compose, where they are installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

from tests.bench.measure import Run, run_process


class Terraform:
    """As many ``terraform_data`` resources as instances, all applied."""

    def __init__(self, program: str, folder: Path, size: int) -> None:
        self._program = program
        self._folder = folder
        folder.mkdir(parents=True)
        empty = folder / "empty.tfrc"
        empty.touch()
        self._environ = {**os.environ, "TF_CLI_CONFIG_FILE": str(empty), "CHECKPOINT_DISABLE": "1"}
        blocks = {f"i{number:05d}": {"input": _input(number)} for number in range(size)}
        document = {"resource": {"terraform_data": blocks}}
        (folder / "main.tf.json").write_text(json.dumps(document))
        for arguments in (["init", "-no-color"], ["apply", "-auto-approve", "-no-color"]):
            run_process([program, *arguments], self._environ, folder)

    def plan(self) -> Run:
        run, output = run_process([self._program, "plan", "-no-color"], self._environ, self._folder)
        assert "No changes" in output, output[-300:]
        return run


def find_terraform() -> str | None:
    return shutil.which("terraform")


def find_compose() -> list[str] | None:
    """The command of Compose version 2, None where there is none."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]):
            asked = subprocess.run([*command, "version"], capture_output=True, check=False)
            if asked.returncode == 0 and b"v2" in asked.stdout:
                return command
    return None


def _input(number: int) -> dict[str, object]:
    return {
        "tenant": f"t{number % 100:03d}",
        "replicas": 1,
        "resources": {"cpu": "250m", "memory": "128Mi"},
        "ports": [{"name": "http", "port": 8080}],
        "env": {"GREETING": "Hello", "LOG_LEVEL": "info", "NUMBER": str(number)},
        "image": "ctrlplane-test-app:1",
    }
