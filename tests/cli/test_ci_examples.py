"""Recipes in ``examples/ci``: they parse and call what there is; the note is kept, not added."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from ruamel.yaml import YAML

from ctrlplane_gitops.cli.flags import COMMON
from ctrlplane_gitops.cli.verb import VERBS

FOLDER = Path(__file__).parents[2] / "examples/ci"
RECIPES = sorted(FOLDER.glob("*.yml"))
MARK = "<!-- ctrlplane-gitops plan -->"


def scripts(value: Any) -> Iterator[str]:
    """Every text of a recipe, wherever it stands."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from scripts(item)


def calls(path: Path) -> list[list[str]]:
    """What it calls us with."""
    found = []
    for text in scripts(YAML(typ="safe").load(path.read_text())):
        for line in re.sub(r"\\\n\s*", " ", text).splitlines():
            words = shlex.split(line, comments=True) if line.strip() else []
            if "ctrlplane-gitops" in words:
                ours = words[words.index("ctrlplane-gitops") + 1 :]
                found.append([word for word in ours if word not in (">>", "$GITHUB_STEP_SUMMARY")])
    return found


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_a_recipe_parses_and_calls_only_what_there_is(path: Path) -> None:
    made = calls(path)
    assert {call[0] for call in made} == {"plan", "apply"}
    verbs = {verb.name: verb for verb in VERBS}
    for call in made:
        verb = verbs[call[0]]
        names = {name for flag in (*COMMON, *verb.flags) for name in flag.names}
        assert {word for word in call if word.startswith("-")} <= names, call


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_a_recipe_plans_for_review_and_applies_what_was_planned(path: Path) -> None:
    review, final, apply = calls(path)
    assert review[:3] == ["plan", "--format", "markdown"] and "--detailed-exitcode" in review
    assert final[0] == "plan" and final[final.index("--out") + 1] == apply[1] == "plan.json"
    assert "-y" in apply


def test_a_recipe_of_github_has_jobs_with_steps() -> None:
    made = YAML(typ="safe").load((FOLDER / "github-actions.yml").read_text())
    # YAML 1.1 would read the key as a boolean, this one does not.
    assert set(made["on"]) == {"pull_request", "push"}
    assert made["permissions"] == {"contents": "read"}
    for job in made["jobs"].values():
        assert job["runs-on"] and all("run" in step or "uses" in step for step in job["steps"])


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_the_shell_of_a_recipe_is_sound(path: Path, tmp_path: Path) -> None:
    made = YAML(typ="safe").load(path.read_text())
    jobs = made["jobs"].values() if "jobs" in made else [made["plan"], made["apply"]]
    texts = [
        text
        for job in jobs
        for step in job.get("steps", [job])
        for text in ([step["run"]] if "run" in step else step.get("script", []))
    ]
    assert len(texts) >= 5
    for text in texts:
        checked = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True)
        assert (checked.returncode, checked.stderr) == (0, ""), text


class Notes(ThreadingHTTPServer):
    """The notes of merge request 7 of project 42, as GitLab documents them, two to a page."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.notes = [{"id": number, "body": f"review {number}"} for number in range(5)]


class _Handler(BaseHTTPRequestHandler):
    server: Notes
    base = "/api/v4/projects/42/merge_requests/7/notes"

    def do_GET(self) -> None:
        page = int(parse_qs(urlsplit(self.path).query)["page"][0])
        found = self.server.notes[2 * page - 2 : 2 * page]
        following = str(page + 1) if 2 * page < len(self.server.notes) else ""
        self._answer(200, found, {"X-Next-Page": following})

    def do_POST(self) -> None:
        assert self.path == self.base
        self.server.notes.append({"id": 99, "body": self._read()["body"]})
        self._answer(201, self.server.notes[-1])

    def do_PUT(self) -> None:
        number = int(self.path.removeprefix(f"{self.base}/"))
        [note] = [item for item in self.server.notes if item["id"] == number]
        note["body"] = self._read()["body"]
        self._answer(200, note)

    def _read(self) -> Any:
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

    def _answer(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        if self.headers["PRIVATE-TOKEN"] != "note-token":
            status, body = 401, {}
        content = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


def test_the_note_on_a_merge_request_is_kept_up_to_date(tmp_path: Path) -> None:
    with Notes() as server:
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        environ = {
            **os.environ, "NOTE_TOKEN": "note-token", "CI_PROJECT_ID": "42",
            "CI_MERGE_REQUEST_IID": "7",
            "CI_API_V4_URL": f"http://127.0.0.1:{server.server_port}/api/v4",
        }  # fmt: skip
        plan = tmp_path / "plan.md"
        try:
            for text in ("Plan: 1 to add", "No changes."):
                plan.write_text(f"{MARK}\n{text}\n")
                command = [sys.executable, str(FOLDER / "gitlab_note.py"), str(plan)]
                subprocess.run(command, env=environ, check=True, timeout=30)
        finally:
            server.shutdown()
            thread.join()
    assert [item["body"] for item in server.notes[5:]] == [f"{MARK}\nNo changes.\n"]
