"""source alone: a commit of a Git repository, read without a work tree."""

import subprocess
import tempfile
from pathlib import Path

from ctrlplane_gitops.source.git import GitSource

GIT = ["git", "-c", "user.name=you", "-c", "user.email=you@example.com"]

with tempfile.TemporaryDirectory() as scratch:
    repo = Path(scratch) / "repo"
    repo.mkdir()
    (repo / "hello.yaml").write_text("hello: world\n")
    for command in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "Hello"]):
        subprocess.run([*GIT, "-C", str(repo), *command], check=True)
    (repo / "hello.yaml").write_text("not: committed\n")
    snapshot = GitSource(str(repo), "main", Path(scratch) / "mirrors").fetch()
    blob = snapshot.entries["hello.yaml"]
    content = snapshot.read([blob])[blob]
    print(f"{snapshot.commit[:7]} of {snapshot.ref}: {content.decode().strip()}")
    assert content == b"hello: world\n"
