from __future__ import annotations

import base64
import shutil
import socket
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path

import pytest

from ctrlplane_gitops.errors import SourceError
from ctrlplane_gitops.source.conformance import check_source
from ctrlplane_gitops.source.git import GitSource
from ctrlplane_gitops.source.location import RemoteUrl
from ctrlplane_gitops.source.mirror import Mirror
from tests.source.repo import ENVIRON, commit, git, make_repo, write


def remote(repo: Path, mirrors: Path, ref: str = "main") -> GitSource:
    return GitSource(f"file://{repo}", ref, mirrors, allow_file=True, environ=ENVIRON)


def mirror_of(mirrors: Path) -> Path:
    (found,) = mirrors.glob("*.git")
    return found


def test_a_mirror_keeps_every_promise_of_a_source(tmp_path: Path) -> None:
    numbers = count()

    def make(files: Mapping[str, bytes], links: Mapping[str, str]) -> GitSource:
        repo = make_repo(tmp_path / str(next(numbers)), files, links)
        return remote(repo, tmp_path / "mirrors", "HEAD")

    check_source(make)


def test_a_mirror_follows_pushes_force_pushes_and_deletions(tmp_path: Path) -> None:
    repo = make_repo(tmp_path / "r", {"a.yaml": b"1"})
    first = remote(repo, tmp_path / "m").fetch().commit
    write(repo, {"a.yaml": b"2"})
    second = commit(repo, "later")
    assert remote(repo, tmp_path / "m").fetch().commit == second
    git(repo, "reset", "-q", "--hard", first)
    assert remote(repo, tmp_path / "m").fetch().commit == first
    git(repo, "checkout", "-q", "-b", "next")
    git(repo, "branch", "-q", "-D", "main")
    with pytest.raises(SourceError, match="no branch, tag or commit 'main'"):
        remote(repo, tmp_path / "m").fetch()
    assert remote(repo, tmp_path / "m", "HEAD").fetch().ref == "HEAD"


def test_a_moved_tag_and_a_full_ref_are_followed(tmp_path: Path) -> None:
    repo = make_repo(tmp_path / "r", {"a.yaml": b"1"})
    git(repo, "tag", "live")
    remote(repo, tmp_path / "m", "live").fetch()
    head = commit(repo)
    git(repo, "tag", "-f", "live")
    git(repo, "update-ref", "refs/pull/7/head", head)
    assert remote(repo, tmp_path / "m", "live").fetch().commit == head
    assert remote(repo, tmp_path / "m", "refs/pull/7/head").fetch().commit == head


def truncate_packs(mirror: Path) -> None:
    packs = [*mirror.glob("objects/pack/*.pack"), *mirror.glob("objects/??/*")]
    assert packs
    for path in packs:
        path.chmod(0o600)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def leave_locks(mirror: Path) -> None:
    for name in ("packed-refs.lock", "refs/heads/main.lock", "config.lock", "shallow.lock"):
        (mirror / name).touch()


def lose_head(mirror: Path) -> None:
    (mirror.parent / f"{mirror.stem}.new-killed").mkdir()
    (mirror / "HEAD").unlink()


def garble_refs(mirror: Path) -> None:
    (mirror / "packed-refs").write_text("")
    (mirror / "refs/heads/main").write_text("f" * 40 + "\n")


@pytest.mark.parametrize("damage", [truncate_packs, leave_locks, lose_head, garble_refs])
@pytest.mark.parametrize("has_moved", [False, True])
def test_a_mirror_that_a_kill_left_broken_recovers(
    tmp_path: Path, damage: object, has_moved: bool
) -> None:
    repo = make_repo(tmp_path / "r", {"a.yaml": b"1" * 500, "b.yaml": b"2"})
    remote(repo, tmp_path / "m").fetch()
    assert callable(damage)
    damage(mirror_of(tmp_path / "m"))
    if has_moved:
        write(repo, {"a.yaml": b"3"})
        commit(repo)
    snapshot = remote(repo, tmp_path / "m").fetch()
    assert snapshot.commit == git(repo, "rev-parse", "HEAD")
    assert len(snapshot.read(snapshot.entries.values())) == 2
    assert len(list((tmp_path / "m").glob("*.git"))) == 1
    assert not list((tmp_path / "m").glob("*.new-*"))


def test_damage_found_while_reading_is_mended(tmp_path: Path) -> None:
    repo = make_repo(tmp_path / "r", {"a.yaml": b"1"})
    snapshot = remote(repo, tmp_path / "m").fetch()
    truncate_packs(mirror_of(tmp_path / "m"))
    assert list(snapshot.read(snapshot.entries.values()).values()) == [b"1"]


def test_a_remote_that_is_gone_leaves_the_mirror_in_place(tmp_path: Path) -> None:
    repo = make_repo(tmp_path / "r", {"a.yaml": b"1"})
    remote(repo, tmp_path / "m").fetch()
    repo.rename(tmp_path / "away")
    with pytest.raises(SourceError, match="could not be fetched"):
        remote(repo, tmp_path / "m").fetch()
    (tmp_path / "away").rename(repo)
    assert mirror_of(tmp_path / "m").exists()
    assert remote(repo, tmp_path / "m").fetch().commit


def test_a_hooks_own_variables_do_not_divert_the_fetch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = make_repo(tmp_path / "r", {"a.yaml": b"1"})
    other = make_repo(tmp_path / "other", {"b.yaml": b"1"})
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_OBJECT_DIRECTORY", str(other / ".git/objects"))
    monkeypatch.setenv("GIT_INDEX_FILE", "/nowhere/index")
    snapshot = remote(repo, tmp_path / "m").fetch()
    assert list(snapshot.entries) == ["a.yaml"]


@contextmanager
def forge(seen: list[str]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers.get("Authorization", ""))
            self.send_response(401)
            self.send_header("WWW-Authenticate", "Basic")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_token_reaches_the_forge_and_no_message(tmp_path: Path) -> None:
    seen: list[str] = []
    with forge(seen) as origin:
        # Plain http is refused in a location; here it stands in for a TLS server.
        url = RemoteUrl(f"{origin}acme/specs.git", "http", origin)
        mirror = Mirror(url, tmp_path / "m", ENVIRON | {"CTRLPLANE_GIT_TOKEN": "t0ken-value"}, 20)
        with pytest.raises(SourceError, match="could not be fetched") as caught:
            mirror.update("main")
    pair = base64.b64encode(b"x-access-token:t0ken-value").decode()
    assert f"Basic {pair}" in seen
    shown = f"{caught.value} {caught.value.hint}"
    assert "t0ken-value" not in shown
    assert pair not in shown
    assert "CTRLPLANE_GIT_TOKEN" in shown


def commands() -> str:
    """What every process of this machine was called with."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found.append(path.read_text(errors="replace"))
    return "\n".join(found)


def test_a_remote_that_never_answers_is_given_up_with_all_that_asks_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "git").symlink_to(shutil.which("git") or "")
    # Neither ps nor pgrep, as in most images of containers.
    monkeypatch.setenv("PATH", str(programs))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        origin = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        environ = ENVIRON | {"PATH": str(programs)}
        mirror = Mirror(RemoteUrl(f"{origin}x.git", "http", origin), tmp_path / "m", environ, 0.5)
        with pytest.raises(SourceError, match="no answer within") as caught:
            mirror.update("main")
        assert origin not in commands()
    assert caught.value.is_retryable
    assert not list((tmp_path / "m").glob("*.new-*"))


def test_fetches_side_by_side_do_not_hurt_each_other(tmp_path: Path) -> None:
    repo = make_repo(tmp_path / "r", {"a.yaml": b"1"})
    head = git(repo, "rev-parse", "HEAD")
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: remote(repo, tmp_path / "m").fetch().commit, range(8)))
    assert found == [head] * 8
