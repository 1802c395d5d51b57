"""Running ``git`` so that no configuration, hook, helper or remote of a repository can run code."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from ctrlplane_gitops.errors import SourceError

LOCAL_TIMEOUT_S = 120
_KEPT = ("PATH", "HOME", "TMPDIR", "XDG_CONFIG_HOME")
_USERINFO = re.compile(r"(?<=://)[^/\s@]*@")
_CONFIG = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "core.untrackedCache": "false",
    "core.pager": "cat",
    "safe.bareRepository": "explicit",
    "protocol.ext.allow": "never",
    "submodule.recurse": "false",
    "gc.autoDetach": "false",
}
# No protocol at all: a partial clone must not fetch what is missing behind our back.
_NO_PROTOCOL = "none"


class GitFailedError(Exception):
    """``git`` ended with an error; ``str`` is what it printed, without credentials."""


def git_environ(
    environ: Mapping[str, str],
    *,
    protocols: str = _NO_PROTOCOL,
    config: Mapping[str, str] | None = None,
    kept: Sequence[str] = (),
) -> dict[str, str]:
    """The whole environment of a ``git`` process: nothing but a few names of ``environ``, and
    configuration that outranks the repository's own. ``protocols`` is a colon-separated list."""
    made = {name: environ[name] for name in (*_KEPT, *kept) if name in environ}
    made |= {
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "true",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_ALLOW_PROTOCOL": protocols,
    }
    settings = _CONFIG | dict(config or {})
    made["GIT_CONFIG_COUNT"] = str(len(settings))
    for index, (key, value) in enumerate(settings.items()):
        made[f"GIT_CONFIG_KEY_{index}"] = key
        made[f"GIT_CONFIG_VALUE_{index}"] = value
    return made


def run_git(
    git_dir: Path,
    arguments: Sequence[str],
    environ: Mapping[str, str],
    *,
    stdin: bytes = b"",
    work_tree: Path | None = None,
    ok_codes: Sequence[int] = (0,),
) -> bytes:
    """What ``git`` printed, on the repository at ``git_dir`` and no other.

    Naming the repository skips Git's search for one, and with it the check of its owner: reading
    somebody else's objects runs nothing of theirs. GitFailedError when it fails, SourceError when
    there is no ``git`` or it does not end.
    """
    place = [f"--git-dir={git_dir}"]
    if work_tree is not None:
        place.append(f"--work-tree={work_tree}")
    try:
        done = subprocess.run(
            ["git", *place, *arguments],
            input=stdin,
            capture_output=True,
            env=git_environ(environ),
            cwd=work_tree or git_dir.parent,
            timeout=LOCAL_TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError:
        raise SourceError("the git command was not found", hint="install git") from None
    except PermissionError:
        raise SourceError(f"{git_dir} may not be entered by this user") from None
    except subprocess.TimeoutExpired:
        raise SourceError(
            f"git did not end within {LOCAL_TIMEOUT_S}s on {git_dir}", is_retryable=True
        ) from None
    if done.returncode not in ok_codes:
        raise GitFailedError(scrub(done.stderr.decode("utf-8", "replace")))
    return done.stdout


def scrub(text: str) -> str:
    """The text without the user part of URLs, and without characters that move a terminal.

    >>> scrub("fatal: https://me:pw@example.com/x refused")
    'fatal: https://example.com/x refused'
    """
    text = _USERINFO.sub("", text).strip()
    return "".join(char if char.isprintable() or char == "\n" else " " for char in text)
