"""``init``: a folder that works as it stands, or nothing written at all."""

from pathlib import Path

import pytest

from tests.cli.folder import Folder


def test_what_is_written_is_valid_and_can_be_planned(folder: Folder, tmp_path: Path) -> None:
    target = tmp_path / "shop"
    said = folder.ok("init", str(target))
    files = sorted(path for path in target.rglob("*") if path.is_file())
    assert f"Wrote {len(files)} files into {target}\n\nNext:\n  cd {target}\n  git init" in said
    for path in files:
        assert f"  {path.relative_to(target)}\n" in said
    assert folder.ok("--chdir", str(target), "validate").startswith("Success!")
    assert "to add, 0 to change, 0 to destroy." in folder.ok("--chdir", str(target), "plan")


def test_the_folder_is_chdir_where_none_is_named(folder: Folder, tmp_path: Path) -> None:
    folder.ok("--chdir", str(tmp_path / "new"), "init")
    assert (tmp_path / "new" / "ctrlplane.yaml").exists()


def test_a_folder_with_a_repository_alone_counts_as_empty(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "new" / ".git").mkdir(parents=True)
    folder.ok("init", str(tmp_path / "new"))


@pytest.mark.parametrize("name", ["notes.txt", ".env"])
def test_a_folder_that_is_not_empty_is_left_alone(
    folder: Folder, tmp_path: Path, name: str
) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / name).write_text("mine")
    assert folder.run("init", str(mine)) == 64
    assert folder.errors.splitlines() == [
        f"error: {mine} is not empty: it has {name}",
        "    give an empty folder: ctrlplane-gitops init DIR",
    ]
    assert [path.name for path in mine.iterdir()] == [name]


def test_a_folder_that_cannot_be_made_is_an_error_with_its_cause(
    folder: Folder, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    assert folder.run("init", str(tmp_path / "file" / "shop")) == 64
    assert folder.errors == f"error: cannot write into {tmp_path}/file/shop: not a directory\n"
