"""A bare repository that tells of every push, as a forge does, and the ledger of who is told."""

from __future__ import annotations

import hmac
import json
import os
import sys
import urllib.error
import urllib.request
from typing import Any

from tests.e2e.plane import Plane, wait_until

SECRET = "9f86d081884c7d659a2feaa0c55ad015"
MAIN = "refs/heads/main"
# What a forge does on a push: each ref that moved is a delivery.
_HOOK = """#!{python}
import hmac, json, sys, urllib.request, uuid
for line in sys.stdin:
    before, after, ref = line.split()
    body = json.dumps({{"ref": ref, "before": before, "after": after}}).encode()
    signature = "sha256=" + hmac.digest({secret!r}, body, "sha256").hex()
    headers = {{"Content-Type": "application/json", "X-GitHub-Event": "push",
               "X-GitHub-Delivery": str(uuid.uuid4()), "X-Hub-Signature-256": signature}}
    request = urllib.request.Request({url!r} + "/hooks/github", body, headers)
    print(urllib.request.urlopen(request, timeout=10).status)
"""


class Origin:
    """The bare repository that ``plane`` pushes to."""

    def __init__(self, plane: Plane) -> None:
        self.plane = plane
        self.path = plane.root / "origin.git"
        plane.git("clone", "--quiet", "--bare", str(plane.repo), str(self.path))
        plane.git("remote", "add", "origin", str(self.path))
        plane.environ |= {"CTRLPLANE_ALLOW_FILE_URLS": "1", "CTRLPLANE_WEBHOOK_SECRET": SECRET}

    @property
    def arguments(self) -> tuple[str, ...]:
        """For ``serve``: through a mirror, as what is not on this machine."""
        return ("--source", f"file://{self.path}", "--ref", MAIN)

    def tell(self, url: str) -> None:
        """From now on a push is told to ``url``."""
        hook = self.path / "hooks/post-receive"
        hook.parent.mkdir(exist_ok=True)
        text = _HOOK.format(python=sys.executable, secret=SECRET.encode(), url=url)
        hook.write_text(text)
        hook.chmod(0o755)

    def push(self, *options: str, ref: str = "main") -> str:
        """The commit that was pushed, once whoever is told has answered."""
        self.plane.git("push", "--quiet", *options, "origin", ref)
        return self.plane.git("rev-parse", "HEAD")


def post(url: str, body: bytes, given_id: str, sender: str = "github") -> tuple[int, Any]:
    """A delivery as GitHub sends it."""
    headers = {
        "Content-Type": "application/json",
        "X-GitHub-Event": "push",
        "X-GitHub-Delivery": given_id,
        "X-Hub-Signature-256": "sha256=" + hmac.digest(SECRET.encode(), body, "sha256").hex(),
    }
    request = urllib.request.Request(f"{url}/hooks/{sender}", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def push_body(after: str, ref: str = MAIN) -> bytes:
    return json.dumps({"ref": ref, "after": after, "salt": os.urandom(8).hex()}).encode()


def ledger(plane: Plane) -> list[dict[str, Any]]:
    """The rows, oldest first."""
    names = ("id", "sender", "outcome", "announced", "commit_id", "ended_at", "message", "count")
    rows = plane.query(f"SELECT {', '.join(names)} FROM deliveries ORDER BY number")
    return [dict(zip(names, row, strict=True)) for row in rows]


def wait_ended(plane: Plane, count: int, sender: str = "github") -> list[dict[str, Any]]:
    """The rows of a sender, once there are as many and each has its outcome."""

    def found() -> list[dict[str, Any]]:
        return [row for row in ledger(plane) if row["sender"] == sender]

    def is_over() -> bool:
        rows = found()
        return len(rows) >= count and all(row["outcome"] != "accepted" for row in rows)

    try:
        wait_until(is_over)
    except AssertionError:
        raise AssertionError(json.dumps(ledger(plane), indent=1)) from None
    return found()
