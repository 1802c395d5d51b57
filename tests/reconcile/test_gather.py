"""What is read and parsed for a pass: what has changed, and what had a problem."""

from __future__ import annotations

import json
import marshal
import os
import sys
from collections.abc import Collection, Mapping
from pathlib import Path

import pytest

from ctrlplane_gitops.network.conformance_kit import make_certificate
from ctrlplane_gitops.reconcile.gather import ROOT_FILE, read_documents, resolve_wanted
from ctrlplane_gitops.secrets.env import EnvBackend
from ctrlplane_gitops.source.base import Snapshot
from ctrlplane_gitops.source.cache import ParseCache
from tests.bench.fleet import make_files
from tests.reconcile.reconcile_kit import PLANE, Repo, tenant_file

TENANTS = ("acme", "globex", "initech")


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    repo = Repo(tmp_path)
    repo.begin(*TENANTS)
    return repo


def names(repo_documents: object) -> list[str]:
    return sorted(str(item.key) for item in repo_documents)  # type: ignore[attr-defined]


def test_every_file_is_parsed_once_and_never_again(repo: Repo) -> None:
    first = repo.gather()
    assert (first.parsed, len(first.documents)) == (4, 10)
    again = repo.gather()
    assert (again.parsed, repo.read) == (0, [])
    assert sorted(again.documents, key=str) == sorted(first.documents, key=str)
    assert again.plane == first.plane and again.diagnostics == ()


def test_what_is_parsed_is_what_changed(repo: Repo) -> None:
    repo.gather()
    repo.write("tenants/acme.yaml", tenant_file("acme", "2"))
    changed = repo.gather()
    assert (changed.parsed, repo.read) == (1, ["tenants/acme.yaml"])
    images = {item.tenant: item.spec["image"] for item in changed.documents if "image" in item.spec}
    assert images == {"acme": "shop:2", "globex": "shop:1", "initech": "shop:1"}
    assert repo.gather().parsed == 0


def test_a_file_that_moved_or_was_copied_is_not_parsed_again(repo: Repo) -> None:
    repo.gather()
    (repo.root / "repo/tenants/acme.yaml").rename(repo.root / "repo/acme.yaml")
    moved = repo.gather()
    assert moved.parsed == 0
    assert {item.path for item in moved.documents if item.tenant == "acme"} == {"acme.yaml"}
    repo.write("tenants/copy.yaml", tenant_file("acme"))
    copied = repo.gather()
    assert copied.parsed == 0
    found = resolve_wanted(copied, None).diagnostics
    assert {item.code for item in found} == {"duplicate-address"}


def test_the_order_of_reading_decides_nothing(repo: Repo) -> None:
    """Cached documents come first: of two with one address the same one is kept all the same."""
    repo.write("a.yaml", tenant_file("acme", "2"))
    cold = resolve_wanted(repo.gather(), None)
    (repo.root / "cache.json").unlink()
    repo.write("a.yaml", "")
    repo.gather()
    repo.write("a.yaml", tenant_file("acme", "2"))
    warm = resolve_wanted(repo.gather(), None)
    assert warm.diagnostics == cold.diagnostics != ()
    assert warm.desired == cold.desired


def test_a_broken_file_is_parsed_and_said_each_time(repo: Repo) -> None:
    repo.write("tenants/acme.yaml", tenant_file("acme") + "---\nkind: [\n")
    first, second = repo.gather(), repo.gather()
    assert (second.parsed, repo.read) == (1, ["tenants/acme.yaml"])
    assert first.diagnostics == second.diagnostics
    assert [str(item.origin).partition(":")[0] for item in second.diagnostics] == [
        "tenants/acme.yaml"
    ]
    assert names(first.documents) == names(second.documents)
    repo.write("tenants/acme.yaml", tenant_file("acme"))
    assert (repo.gather().parsed, repo.gather().parsed) == (1, 0)


def test_ignored_files_are_neither_read_nor_said(repo: Repo) -> None:
    repo.begin(more=", ignore: [charts/, '*.tmpl.yaml']")
    for path in ("charts/a/values.yaml", "x/y.tmpl.yaml", "tenants/.hidden.yaml", "notes.md"):
        repo.write(path, "kind: [")
    (repo.root / "repo/charts/link.yaml").symlink_to("/etc/passwd")
    wanted = repo.gather()
    assert wanted.diagnostics == ()
    assert "charts/a/values.yaml" not in repo.read and "x/y.tmpl.yaml" not in repo.read
    (repo.root / "repo/link.yaml").symlink_to("/etc/passwd")
    assert [item.code for item in repo.gather().diagnostics] == ["symlink"]


@pytest.mark.skipif(
    sys.platform != "linux" or len(os.sched_getaffinity(0)) < 2, reason="one processor"
)
def test_what_is_ignored_no_process_reads(tmp_path: Path) -> None:
    """Nor the one that begins before anybody has checked what the control plane says."""
    files = make_files(300, "{type: memory}")
    files[ROOT_FILE] = files[ROOT_FILE].replace(b"spec: {", b"spec: {ignore: [charts/], ")
    files |= {f"charts/{number}.yaml": b"kind: [" for number in range(300)}

    def read(asked: Collection[str]) -> Mapping[str, bytes]:
        with (tmp_path / "read").open("a") as file:
            file.writelines(f"{os.getpid()} {path}\n" for path in asked)
        return {path: files[path] for path in asked}

    wanted = read_documents(Snapshot({path: path for path in files}, read), None)
    assert wanted.diagnostics == ()
    rows = [row.split() for row in (tmp_path / "read").read_text().splitlines()]
    assert len({process for process, _ in rows}) == 2
    assert {path for _, path in rows} == {path for path in files if "charts" not in path}


@pytest.mark.parametrize("ignored", ["charts/", "[1, {}]", "{a: b}", "[charts/, 2]"])
def test_what_cannot_be_ignored_is_said_and_no_more(repo: Repo, ignored: str) -> None:
    repo.begin(more=f", ignore: {ignored}")
    assert {item.code for item in repo.gather().diagnostics} == {"wrong-type"}


def test_a_broken_control_plane_ignores_nothing(repo: Repo) -> None:
    """What it would have ignored is not known, so all of it is looked at."""
    repo.write("charts/values.yaml", "kind: [")
    repo.write("ctrlplane.yaml", PLANE.format(more=", ignore: [charts/], nonsense: 1"))
    wanted = repo.gather()
    assert wanted.plane is None
    assert {item.origin.path for item in wanted.diagnostics if item.origin} == {
        "ctrlplane.yaml", "charts/values.yaml",
    }  # fmt: skip


def rewrite(path: Path, word: str, other: str) -> None:
    """As a program would have written it that has another word."""
    entries = marshal.loads(path.read_bytes().partition(b"\n")[2])
    path.unlink()
    entries = json.loads(json.dumps(entries).replace(word, other))
    assert other in json.dumps(entries)
    assert ParseCache(path, "1").save(entries, keep=list(entries))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_text("{"),
        lambda path: path.unlink(),
        lambda path: path.chmod(0o666),
        lambda path: rewrite(path, '"kind"', '"kin"'),
        lambda path: rewrite(path, '"instance"', '"nonsense"'),
    ],
    ids=["damaged", "missing", "not ours alone", "other keys", "other kinds"],
)
def test_a_cache_that_cannot_be_used_is_made_anew(repo: Repo, spoil: object) -> None:
    first = repo.gather()
    spoil(repo.root / "cache.json")  # type: ignore[operator]
    again = repo.gather()
    assert names(again.documents) == names(first.documents)


def test_a_cache_of_another_version_is_not_used(repo: Repo) -> None:
    repo.gather()
    assert repo.gather("2").parsed == 4


TLS = """\
---
apiVersion: ctrlplane.dev/v1
kind: Secret
metadata: {tenant: acme, name: site}
spec: {type: tls, from: {env: SITE}}
"""


def test_a_certificate_that_nobody_can_show_freezes_its_tenant_alone(
    repo: Repo, tmp_path: Path
) -> None:
    repo.write("tenants/acme.yaml", tenant_file("acme") + TLS)
    bad = resolve_wanted(repo.gather(), {"env": EnvBackend({"SITE": "hunter22"})})
    (found,) = [item for item in bad.diagnostics if item.code == "bad-certificate"]
    assert (found.tenant, found.is_error) == ("acme", True)
    assert "hunter22" not in found.render()
    assert bad.desired is not None and set(bad.desired.frozen) == {"acme"}
    value = make_certificate(tmp_path, "shop.example").reveal().decode()
    good = resolve_wanted(repo.gather(), {"env": EnvBackend({"SITE": value})})
    assert not good.diagnostics
    # Without values (validate) nothing can be said about them.
    assert not resolve_wanted(repo.gather(), None).diagnostics
