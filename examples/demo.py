"""The whole thing once, in a scratch folder: a Git repo, a plan, an apply, a request to every
endpoint, a second plan that is empty, a new version, a repair, and everything removed again.

Needs Python, git and nothing else. ``KEEP=1`` leaves it running and says where.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

QUICKSTART = Path(__file__).resolve().parent / "quickstart"
COMMAND = [sys.executable, "-m", "ctrlplane_gitops"]
GIT = ["git", "-c", "user.name=demo", "-c", "user.email=demo@example.com"]


def main() -> int:
    scratch = Path(tempfile.mkdtemp(prefix="ctrlplane-demo-"))
    demo = Demo(scratch)
    try:
        demo.run()
    finally:
        if os.environ.get("KEEP") == "1":
            print(f"\nLeft running; its state is in {scratch}")
        else:
            demo.run_verb("destroy", "-y", is_checked=False)
            shutil.rmtree(scratch)
    print("\nDemo complete.")
    return 0


class Demo:
    def __init__(self, scratch):
        self.repo = scratch / "repo"
        self.environ = {
            **{name: text for name, text in os.environ.items() if name[:10] != "CTRLPLANE_"},
            "CTRLPLANE_STATE_DIR": str(scratch / "state"),
            "CTRLPLANE_CACHE_DIR": str(scratch / "cache"),
        }

    def run(self):
        print("# A Git repo of specs: two customers, each with a web application of its own.")
        shutil.copytree(QUICKSTART, self.repo)
        self.git("init", "--quiet", "--initial-branch=main")
        self.commit("First specs")

        self.run_verb("plan", "--ref", "main")
        self.run_verb("apply", "--ref", "main", "-y")
        self.run_verb("status", "--ref", "main")
        self.greet()

        print("\n# Nothing has changed, so there is nothing to do.")
        text = self.run_verb("plan", "--ref", "main", "--detailed-exitcode")
        expect("No changes." in text, "the second plan is not empty")

        print("\n# A new version for one customer, by a commit.")
        specs = self.repo / "tenants" / "acme.yaml"
        specs.write_text(specs.read_text().replace('VERSION: "1"', 'VERSION: "2"'))
        self.commit("Version 2 for Acme")
        self.run_verb("apply", "--ref", "main", "-y")
        answers = self.greet()
        expect(any("version 2" in text for text in answers), "version 2 does not answer")
        self.run_verb("history", "instance/acme/web", "--ref", "main")

    def greet(self):
        print("\n# A request to every endpoint:")
        answer = self.call([*COMMAND, "--chdir", str(self.repo), "status", "--json"])
        answers = []
        for instance in json.loads(answer)["instances"]:
            for endpoint in instance["endpoints"]:
                with urllib.request.urlopen(endpoint["url"], timeout=10) as response:
                    text = response.read().decode().strip()
                print(f"{instance['address']}  {endpoint['url']}  {text}")
                answers.append(text)
        expect(len(answers) == 3, f"3 endpoints should answer, {len(answers)} did")
        return answers

    def run_verb(self, *arguments, is_checked=True):
        print(f"\n$ ctrlplane-gitops {shlex.join(arguments)}", flush=True)
        text = self.call([*COMMAND, "--chdir", str(self.repo), *arguments], is_checked)
        print(text, end="", flush=True)
        return text

    def git(self, *arguments):
        self.call([*GIT, "-C", str(self.repo), *arguments])

    def commit(self, message):
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)

    def call(self, command, is_checked=True):
        done = subprocess.run(
            command, env=self.environ, stdout=subprocess.PIPE, text=True, check=False
        )
        if is_checked and done.returncode:
            print(done.stdout)
            raise SystemExit(f"{shlex.join(command)} exited {done.returncode}")
        return done.stdout


def expect(is_true, what):
    if not is_true:
        raise SystemExit(f"demo failed: {what}")


if __name__ == "__main__":
    sys.exit(main())
