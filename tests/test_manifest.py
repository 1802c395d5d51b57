"""What we ship for a cluster fits together: the image, the Deployment, the package."""

from __future__ import annotations

import re
import tomllib

from tests.kubernetes.role import FOLDER, documents

ROOT = FOLDER.parents[1]
DOCKERFILE = (FOLDER / "Dockerfile").read_text().replace("\\\n", " ")


def instruction(name: str) -> str:
    """What the last one of that name says."""
    return re.findall(rf"^{name} (.*)$", DOCKERFILE, re.MULTILINE)[-1].strip()


def copied() -> list[str]:
    """What the image is made from, of this repository."""
    found = re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE)
    return [name for names in found for name in names.split()]


def test_the_image_is_made_from_all_the_package_needs_and_the_context_has_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = ["pyproject.toml", project["readme"], *project["license-files"], "ctrlplane_gitops"]
    assert sorted(copied()) == sorted(needed)
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in lines
    assert sorted(line[1:] for line in lines if line.startswith("!")) == sorted(needed)
    assert all((ROOT / name).exists() for name in needed)


def test_the_image_has_the_extras_a_cluster_takes() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    [extras] = re.findall(r"'\.\[(.*?)\]'", DOCKERFILE)
    assert "kubernetes" in extras.split(",")
    assert set(extras.split(",")) <= set(project["optional-dependencies"])


def test_the_deployment_runs_the_image_as_it_is_made() -> None:
    [deployment] = [one for one in documents("serve.yaml") if one["kind"] == "Deployment"]
    pod = deployment["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert str(pod["securityContext"]["runAsUser"]) == instruction("USER")
    assert [str(port["containerPort"]) for port in container["ports"]] == [instruction("EXPOSE")]
    assert container["image"] in DOCKERFILE
    assert "command" not in container and instruction("ENTRYPOINT").endswith('"ctrlplane-gitops"]')
    environ = {item["name"]: item["value"] for item in container["env"]}
    said = dict(re.findall(r"(CTRLPLANE_\w+)=(\S+)", instruction("ENV")))
    assert said and environ.items() >= said.items()


def test_the_readme_says_what_to_do_with_each() -> None:
    section = (
        (ROOT / "README.md").read_text().partition("## On Kubernetes")[2].partition("\n## ")[0]
    )
    for path in FOLDER.iterdir():
        assert path.name in section, path.name


def test_what_is_written_to_is_a_volume() -> None:
    [deployment] = [one for one in documents("serve.yaml") if one["kind"] == "Deployment"]
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    environ = {item["name"]: item["value"] for item in container["env"]}
    written = {"/tmp", environ["CTRLPLANE_STATE_DIR"], environ["CTRLPLANE_CACHE_DIR"]}
    mounts = container["volumeMounts"]
    assert {mount["mountPath"] for mount in mounts if not mount.get("readOnly")} == written
