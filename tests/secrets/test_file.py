from __future__ import annotations

import os
from itertools import count
from pathlib import Path

import pytest

from ctrlplane_gitops.errors import SecretError
from ctrlplane_gitops.secrets.conformance import check_backend
from ctrlplane_gitops.secrets.file import MAX_BYTES, FileBackend
from ctrlplane_gitops.state.desired import SecretRef
from ctrlplane_gitops.state.key import Kind, ResourceKey

KEY = ResourceKey(Kind.SECRET, "acme", "database-url")


def ref(locator: object) -> SecretRef:
    return SecretRef(KEY, "file", str(locator))


def put(path: Path, value: bytes, mode: int = 0o600) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(value)
    path.chmod(mode)
    return path


def test_files_keep_every_promise_of_a_backend(tmp_path: Path) -> None:
    numbers = count()

    def make(value: bytes | None) -> tuple[FileBackend, SecretRef]:
        root = tmp_path / str(next(numbers))
        root.mkdir()
        if value is not None:
            put(root / "acme/url", value)
        return FileBackend(root), ref("acme/url")

    check_backend(make)


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"x\n", b"x"),
        (b"x\n\n", b"x\n"),
        (b"x\r\n", b"x"),
        (b" x ", b" x "),
        (b"\x00\xff", b"\x00\xff"),
    ],
)
def test_one_trailing_newline_is_not_part_of_the_value(
    tmp_path: Path, content: bytes, value: bytes
) -> None:
    put(tmp_path / "s", content)
    assert FileBackend(tmp_path).resolve(ref("s")).reveal() == value


def test_a_path_cannot_leave_the_root(tmp_path: Path) -> None:
    put(tmp_path / "outside", b"secret")
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(tmp_path / "outside")
    (root / "up").symlink_to("..")
    for locator in ("../outside", "link", "up/outside", "a/../../outside"):
        with pytest.raises(SecretError, match=r"leads out of|does not exist"):
            FileBackend(root).resolve(ref(locator))


def test_links_inside_the_root_work_as_kubernetes_mounts_them(tmp_path: Path) -> None:
    put(tmp_path / "..2026" / "password", b"secret")
    (tmp_path / "..data").symlink_to("..2026")
    (tmp_path / "password").symlink_to("..data/password")
    assert FileBackend(tmp_path).resolve(ref("password")).reveal() == b"secret"


def test_absolute_paths_need_the_operators_leave(tmp_path: Path) -> None:
    path = put(tmp_path / "s", b"secret")
    with pytest.raises(SecretError, match="is absolute"):
        FileBackend(tmp_path).resolve(ref(path))
    assert FileBackend(None, is_absolute_allowed=True).resolve(ref(path)).reveal() == b"secret"
    with pytest.raises(SecretError, match="is relative"):
        FileBackend(None, is_absolute_allowed=True).resolve(ref("s"))


def test_what_is_no_proper_secret_file_is_refused(tmp_path: Path) -> None:
    put(tmp_path / "big", b"x" * (MAX_BYTES + 1))
    put(tmp_path / "open", b"value", 0o666)
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    reasons = {
        "big": "larger than 1 MiB",
        "open": "written by everybody",
        "folder": "not a regular file",
        "pipe": "not a regular file",
        "loop": "cannot be followed",
        "gone": "does not exist",
        "n\0l": "NUL character",
        "x" * 5000: "cannot be followed",
    }
    for locator, reason in reasons.items():
        with pytest.raises(SecretError, match=reason):
            FileBackend(tmp_path).resolve(ref(locator))


def test_a_file_everybody_may_read_is_a_warning(tmp_path: Path) -> None:
    put(tmp_path / "mine", b"value", 0o600)
    put(tmp_path / "ours", b"value", 0o644)
    backend = FileBackend(tmp_path)
    assert backend.review(ref("mine")) == ()
    (found,) = backend.review(ref("ours"))
    assert (found.code, found.is_error) == ("secret-world-readable", False)
    assert backend.resolve(ref("ours")).reveal() == b"value"
