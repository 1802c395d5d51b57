"""The rights we ask for in a cluster: those of ``examples/kubernetes``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests.engines.kubernetes import write_kubeconfig
from tests.kubernetes.client import Access, Object
from tests.kubernetes.rig import Rig

FOLDER = Path(__file__).parents[2] / "examples/kubernetes"
Right = tuple[str, str, str]


def documents(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = list(YAML(typ="safe").load_all((FOLDER / name).read_text()))
    return found


def granted() -> set[Right]:
    """Group, resource and verb of every right we ask for."""
    return {
        (group, resource, verb)
        for name in ("role.yaml", "gateway.yaml")
        for item in documents(name)
        for rule in item.get("rules", ())
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def role_access(rig: Rig) -> Access:
    """Somebody with the rights of the provider's role alone."""
    rules: list[Object] = [rule for item in documents("role.yaml") for rule in item["rules"]]
    return rig.make_user("shipped-role", rules)


def role_kubeconfig(rig: Rig) -> Path:
    """The same as a file; made once."""
    path = rig.root / "role.kubeconfig"
    if not path.exists():
        write_kubeconfig(role_access(rig), path)
    return path
