"""Becomes a container: the network of its pod, a root of its own, then its command.

``launch.py SPEC FD`` with the path of a JSON document: ``pause`` (the process whose network is
joined, or null), ``root`` (an empty folder), ``is_read_only``, ``mounts`` (source, target, whether
read-only), ``folder`` and ``command``. The environment is the command's. Everything of this machine
is there as it is, except that what is mounted, and its parents, are of this container alone. The
descriptor is closed once the command runs; what is written there before that says why it does not.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import isolation

Tree = dict[str, "Tree | None"]


def build(root: Path, mounts: list[tuple[str, str, bool]], is_read_only: bool) -> None:
    """The machine's ``/`` below ``root``, with the mounts in it; all but those may be read-only."""
    resolved = sorted((os.path.realpath(target), source, ro) for source, target, ro in mounts)
    top = [item for item in resolved if not _is_below(item[0], [one[0] for one in resolved])]
    tree: Tree = {}
    for target, _, _ in top:
        parts = target.strip("/").split("/")
        node = tree
        for part in parts[:-1]:
            following = node.setdefault(part, {})
            assert following is not None
            node = following
        node[parts[-1]] = None
    if is_read_only:
        root.mkdir(parents=True)
        isolation.bind(str(root), str(root))
    _lay(Path("/"), root, tree)
    for target, source, _ in top:
        _make_place(Path(source), root / target.lstrip("/"))
    if is_read_only:
        isolation.make_read_only(str(root))
    for target, source, is_fixed in resolved:
        place = root / target.lstrip("/")
        _make_place(Path(source), place)
        isolation.bind(source, str(place), is_read_only=is_fixed)


def _is_below(target: str, others: list[str]) -> bool:
    return any(target.startswith(other + "/") for other in others)


def _lay(here: Path, there: Path, tree: Tree) -> None:
    """What is in a folder, bound one by one, but for what the tree has."""
    there.mkdir(parents=True, exist_ok=True)
    entries = sorted(here.iterdir()) if here.is_dir() else []
    for entry in entries:
        # Never into itself.
        if entry.name in tree:
            continue
        place = there / entry.name
        if entry.is_symlink():
            place.symlink_to(entry.readlink())
        elif entry.exists():
            _make_place(entry, place)
            isolation.bind(str(entry), str(place))
    for name, below in tree.items():
        if below is not None:
            _lay(here / name, there / name, below)


def _make_place(source: Path, place: Path) -> None:
    if source.is_dir():
        place.mkdir(parents=True, exist_ok=True)
    else:
        place.parent.mkdir(parents=True, exist_ok=True)
        if not place.exists():
            place.touch()


def main(path: str, number: str) -> None:
    os.set_inheritable(int(number), False)
    try:
        become(json.loads(Path(path).read_text()))
    except OSError as failed:
        os.write(int(number), str(failed).encode())
        sys.exit(128)


def become(spec: dict[str, Any]) -> None:
    isolation.die_with_parent()
    if spec["pause"] is not None:
        if isolation.is_own_user(spec["pause"]):
            isolation.join(spec["pause"], "user")
        isolation.join(spec["pause"], "net")
    isolation.leave(isolation.NEW_MOUNTS)
    isolation.make_private()
    root = Path(spec["root"])
    mounts = [(source, target, ro) for source, target, ro in spec["mounts"]]
    build(root, mounts, spec["is_read_only"])
    os.chroot(root)
    Path(spec["folder"]).mkdir(parents=True, exist_ok=True)
    os.chdir(spec["folder"])
    command = spec["command"]
    try:
        os.execvp(command[0], command)
    except OSError as failed:
        raise OSError(failed.errno, f"exec: {command[0]!r}: {failed.strerror}") from None


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
