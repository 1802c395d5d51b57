"""The whole thing once, in a scratch folder: a Git repo, a plan, an apply, a request to every
endpoint, a second plan that is empty, a new version, and `serve` with its pages, which follows the
repo and repairs what dies; then everything is removed again.

Needs Python, git and nothing else. In a terminal it serves until Ctrl-C, else it only shows that
the page answers. ``KEEP=1`` leaves the applications running and says where.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager, suppress
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
        self.serve()

    def serve(self):
        print("\n# The same without a person: it follows the branch, and repairs what dies.")
        verb = ["serve", "--ref", "main", "--listen", "127.0.0.1:0", "--poll", "2s"]
        print(f"\n$ ctrlplane-gitops {shlex.join(verb)}", flush=True)
        with self.serving(verb) as url:
            self.follow(url)
            print(f"\n# The page: {url}", flush=True)
            if sys.stdin.isatty() and sys.stdout.isatty():
                print(f"# The repo it follows: {self.repo}\n# Ctrl-C ends it.", flush=True)
                with suppress(KeyboardInterrupt):
                    while True:
                        time.sleep(60)

    @contextmanager
    def serving(self, verb):
        """Where it answers; it is told to stop at the end."""
        command = [*COMMAND, "--chdir", str(self.repo), *verb]
        with subprocess.Popen(
            command,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            # Ctrl-C is for the demo, which then tells it to stop.
            start_new_session=True,
        ) as process:
            try:
                line = next((item for item in process.stderr if "listening on" in item), None)
                expect(line is not None, "serve does not listen")
                print(line, end="", flush=True)
                yield line.split()[-1]
                process.terminate()
                process.communicate(timeout=30)
                expect(process.returncode == 0, f"serve exited {process.returncode}")
            finally:
                if process.poll() is None:
                    process.kill()

    def follow(self, url):
        """A commit is applied, and the page shows it."""
        wait_for(lambda: ask(f"{url}/readyz"), "serve does not become ready")
        specs = self.repo / "tenants" / "globex.yaml"
        specs.write_text(specs.read_text().replace('VERSION: "1"', 'VERSION: "2"'))
        self.commit("Version 2 for Globex")
        page = f"{url}/tenants/globex/instances/web"
        wait_for(lambda: "v2" in ask(page), "the page does not show version 2")
        print("Version 2 for Globex was committed, applied, and is on its page.")

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


def ask(url):
    """What it answers; "" for an error."""
    with suppress(OSError), urllib.request.urlopen(url, timeout=10) as response:
        return response.read().decode()
    return ""


def wait_for(is_so, what):
    deadline = time.monotonic() + 60
    while not is_so():
        expect(time.monotonic() < deadline, what)
        time.sleep(0.2)


def expect(is_true, what):
    if not is_true:
        raise SystemExit(f"demo failed: {what}")


if __name__ == "__main__":
    sys.exit(main())
