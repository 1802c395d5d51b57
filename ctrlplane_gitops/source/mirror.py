"""A bare mirror of a remote repository: fetched, never checked out, and made anew when broken."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from ctrlplane_gitops.clock import monotonic_s, sleep
from ctrlplane_gitops.errors import SourceError
from ctrlplane_gitops.source.command import git_environ, scrub
from ctrlplane_gitops.source.location import HEAD_REF, TOKEN_VARIABLE, RemoteUrl

_KEPT = (
    "SSH_AUTH_SOCK", "GIT_SSH_COMMAND", "GIT_SSL_CAINFO", "SSL_CERT_FILE", "SSL_CERT_DIR",
    "https_proxy", "HTTPS_PROXY", "http_proxy", "no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY",
)  # fmt: skip
# What the other side or the network says; anything else is taken as damage of our own copy.
_REMOTE_FAULT = re.compile(
    r"could not read from remote|unable to access|could not resolve|authentication failed"
    r"|could not read username|could not read password|couldn't find remote ref"
    r"|repository .*not found|does not appear to be a git repository|dubious ownership"
    r"|transport '.*' not allowed|host key verification|permission denied \(|no answer within",
    re.IGNORECASE,
)
_TRANSIENT = re.compile(r"timed? ?out|could not resolve|connection|early eof|50[0234]", re.I)


class Mirror:
    """The bare copy of one URL below ``mirror_dir``.

    ``environ`` is the environment whose ``CTRLPLANE_GIT_TOKEN`` is sent to the URL's own host (as
    ``user:password``, or as the password of ``x-access-token``), in a variable of the ``git``
    process: it is in no argument, file or message.
    """

    def __init__(
        self, remote: RemoteUrl, mirror_dir: Path, environ: Mapping[str, str], timeout_s: float
    ) -> None:
        self._remote = remote
        self._environ = environ
        self._timeout_s = timeout_s
        digest = hashlib.sha256(remote.url.encode()).hexdigest()[:16]
        slug = re.sub(r"[^A-Za-z0-9]+", "-", remote.url.rstrip("/").rpartition("/")[2])[:40]
        self.git_dir = mirror_dir.absolute() / f"{slug}-{digest}.git"

    def update(self, ref: str) -> None:
        """Fetch every branch and tag (and ``ref``, when it is HEAD or another full ref).

        A copy that cannot be fetched into is made anew. SourceError when the remote does not give.
        """
        with self._locked():
            if not (self.git_dir / "HEAD").exists():
                self._make_anew(ref)
                return
            failure = self._fetch(self.git_dir, ref)
            if failure and _REMOTE_FAULT.search(failure):
                raise self._explain(failure)
            if failure:
                # A killed fetch leaves locks and half-written packs; a fresh copy has neither.
                self._make_anew(ref)

    def replace(self, ref: str) -> None:
        """Throw the copy away and clone again: its objects turned out to be damaged."""
        with self._locked():
            self._make_anew(ref)

    def _make_anew(self, ref: str) -> None:
        parent = self.git_dir.parent
        for left_by_a_kill in parent.glob(f"{self.git_dir.stem}.new-*"):
            _remove(left_by_a_kill)
        fresh = Path(tempfile.mkdtemp(prefix=f"{self.git_dir.stem}.new-", dir=parent))
        try:
            failure = self._run(
                ["git", "init", "--bare", "--quiet", "--template=", "--", str(fresh)]
            ) or self._fetch(fresh, ref)
            if failure:
                raise self._explain(failure)
            _remove(self.git_dir)
            fresh.rename(self.git_dir)
        finally:
            _remove(fresh)

    def _fetch(self, git_dir: Path, ref: str) -> str:
        """What went wrong, "" when nothing did."""
        refspecs = ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"]
        base = re.split(r"[~^]", ref)[0]
        if base == "HEAD":
            refspecs.append(f"+HEAD:{HEAD_REF}")
        elif base.startswith("refs/") and not base.startswith(("refs/heads/", "refs/tags/")):
            refspecs.append(f"+{base}:{base}")
        options = ["--quiet", "--prune", "--no-tags", "--no-write-fetch-head"]
        options += ["--no-recurse-submodules", "--upload-pack=git-upload-pack"]
        place = f"--git-dir={git_dir}"
        return self._run(
            ["git", place, "fetch", *options, "--end-of-options", self._remote.url, *refspecs]
        )

    def _run(self, command: Sequence[str]) -> str:
        """Run a command that talks to the remote; its error text, "" when it went well. One that
        takes too long is ended, with all that it has started."""
        try:
            process = subprocess.Popen(
                command,
                env=self._make_environ(),
                cwd=self.git_dir.parent,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except FileNotFoundError:
            raise SourceError("the git command was not found", hint="install git") from None
        with process:
            try:
                errors = process.communicate(timeout=self._timeout_s)[1]
            except subprocess.TimeoutExpired:
                return f"no answer within {self._timeout_s:g} s, timed out"
            finally:
                # Nobody has waited for it, so that the number is still that of its group.
                if process.returncode is None:
                    os.killpg(process.pid, signal.SIGKILL)
        text = scrub(errors.decode("utf-8", "replace"))
        return "" if process.returncode == 0 else text or f"git ended with {process.returncode}"

    def _make_environ(self) -> dict[str, str]:
        config: dict[str, str] = {}
        token = self._environ.get(TOKEN_VARIABLE, "")
        if token and self._remote.origin:
            pair = token if ":" in token else f"x-access-token:{token}"
            encoded = base64.b64encode(pair.encode()).decode("ascii")
            config[f"http.{self._remote.origin}.extraHeader"] = f"Authorization: Basic {encoded}"
            # A redirect to another host would carry the header along.
            config["http.followRedirects"] = "false"
        made = git_environ(
            self._environ, protocols=self._remote.protocol, config=config, kept=_KEPT
        )
        made.setdefault("GIT_SSH_COMMAND", "ssh -o BatchMode=yes -o ConnectTimeout=20")
        return made

    def _explain(self, failure: str) -> SourceError:
        hint = None
        if re.search(r"authentication|username|password|permission denied|40[13]", failure, re.I):
            hint = f"set {TOKEN_VARIABLE} for https, or load a key into the ssh agent"
        elif "dubious ownership" in failure:
            hint = "the repository belongs to another user: give its path instead of a file URL"
        elif "redirect" in failure:
            hint = "the repository has moved: use its new URL"
        return SourceError(
            f"{scrub(self._remote.url)} could not be fetched: {failure}",
            hint=hint,
            is_retryable=bool(_TRANSIENT.search(failure)),
        )

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One fetch at a time, also between processes; the kernel frees it when we are killed."""
        try:
            self.git_dir.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            path = self.git_dir.with_suffix(".lock")
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise SourceError(
                f"the mirror folder {self.git_dir.parent} cannot be used: {error.strerror}"
            ) from None
        try:
            deadline = monotonic_s() + self._timeout_s
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if monotonic_s() > deadline:
                        raise SourceError(
                            f"another fetch of {scrub(self._remote.url)} does not end",
                            is_retryable=True,
                        ) from None
                    sleep(0.05)
            yield
        finally:
            os.close(descriptor)


def _remove(path: Path) -> None:
    if path.exists():
        shutil.rmtree(path, ignore_errors=True)
