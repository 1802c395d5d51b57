"""What counts as a file of a snapshot; the same rules for a directory and for a Git tree."""

from __future__ import annotations

import hashlib

from ctrlplane_gitops.diagnostics import Diagnostic, Origin, error

MAX_FILE_BYTES = 10 * 1024 * 1024
MAX_DEPTH = 64


def blob_id(content: bytes) -> str:
    """Git's id of these bytes.

    >>> blob_id(b"")
    'e69de29bb2d1d6434b8b29ae775ad8c2e48c5391'
    """
    # Not a security boundary: it is Git's name for the content.
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def is_hidden_folder(name: str) -> bool:
    """``.git``, ``.github`` and the like hold no specs."""
    return name.startswith(".")


def is_in_hidden_folder(path: str) -> bool:
    """
    >>> is_in_hidden_folder(".github/a.yaml"), is_in_hidden_folder("a/.hidden.yaml")
    (True, False)
    """
    return (path.startswith(".") and "/" in path) or "/." in path[: path.rfind("/") + 1]


def refuse_name(path: str) -> Diagnostic | None:
    """A problem when a path cannot be printed (not UTF-8, control characters)."""
    if path.isprintable():
        return None
    shown = path.encode("utf-8", "surrogateescape").decode("ascii", "backslashreplace")
    shown = "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in shown)
    return _refusal("file-name", shown, "its name is not printable UTF-8", "rename the file")


def refuse_symlink(path: str) -> Diagnostic:
    hint = "links are never followed: commit the file itself"
    return _refusal("symlink", path, "it is a symbolic link", hint)


def refuse_submodule(path: str) -> Diagnostic:
    hint = "submodules are never fetched: copy the files, or use a second control plane"
    return _refusal("submodule", path, "it is a repository of its own", hint)


def refuse_size(path: str, size: int) -> Diagnostic:
    limit = MAX_FILE_BYTES // 2**20
    why = f"it has {size} bytes, more than {limit} MiB"
    return _refusal("file-too-large", path, why, "keep large files out of the folder of specs")


def refuse_depth(path: str) -> Diagnostic:
    why = f"its folders are more than {MAX_DEPTH} deep"
    return _refusal("too-deep", path, why, "move the folder up")


def refuse_unreadable(path: str, why: str) -> Diagnostic:
    return _refusal("unreadable", path, why, "make it readable, or remove it")


def _refusal(code: str, path: str, why: str, hint: str) -> Diagnostic:
    return error(code, f"{path} is refused: {why}", origin=Origin(path), hint=hint)
