"""The manifests in ``examples/kubernetes`` say what there is: flags, settings, paths and names."""

from __future__ import annotations

from typing import Any

from ctrlplane_gitops.cli.main import parse_arguments
from tests.kubernetes.role import FOLDER, documents

ROOT = FOLDER.parents[1]


def the(kind: str, *, file: str = "serve.yaml") -> dict[str, Any]:
    [found] = [item for item in documents(file) if item["kind"] == kind]
    return found


def container() -> dict[str, Any]:
    [found] = the("Deployment")["spec"]["template"]["spec"]["containers"]
    return dict(found)


def test_serve_takes_its_arguments_and_settings() -> None:
    environ = {item["name"]: item["value"] for item in container()["env"]}
    verb, options = parse_arguments(container()["args"], environ)
    assert (verb.name, options["listen"]) == ("serve", "0.0.0.0:8321")
    assert (options["repo"], options["ref"]) == ("https://git.example.com/prod.git", "main")
    flags = {flag.variable for flag in verb.all_flags}
    readme = (ROOT / "README.md").read_text()
    for name in environ.keys() - flags:
        assert f"| `{name}` |" in readme, name


def test_probes_and_service_lead_to_it() -> None:
    probes = {name: container()[name]["httpGet"] for name in
              ("startupProbe", "livenessProbe", "readinessProbe")}  # fmt: skip
    assert {item["path"] for item in probes.values()} == {"/healthz", "/readyz"}
    assert probes["readinessProbe"]["path"] == "/readyz"
    [port] = container()["ports"]
    assert (port["name"], port["containerPort"]) == ("http", 8321)
    labels = the("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert the("Service")["spec"]["selector"].items() <= labels.items()
    assert {item["port"] for item in probes.values()} == {"http"}


def test_everything_is_bound_to_the_account_it_runs_as() -> None:
    account = the("ServiceAccount", file="rbac.yaml")["metadata"]
    spec = the("Deployment")["spec"]["template"]["spec"]
    assert spec["serviceAccountName"] == account["name"]
    subject = {"kind": "ServiceAccount", **account}
    bindings = [item for file in ("rbac.yaml", "gateway.yaml") for item in documents(file)
                if item["kind"].endswith("Binding")]  # fmt: skip
    assert len(bindings) == 3
    for item in bindings:
        assert item["subjects"] == [subject]


def test_no_right_is_a_wildcard() -> None:
    for file in ("role.yaml", "gateway.yaml"):
        for item in documents(file):
            for rule in item.get("rules", ()):
                assert "*" not in (*rule["apiGroups"], *rule["resources"], *rule["verbs"])


def test_who_writes_is_one() -> None:
    """The store is a file of one process; a second would wait for the first one's disk."""
    spec = the("Deployment")["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
    volumes = spec["template"]["spec"]["volumes"]
    claims = [it["persistentVolumeClaim"] for it in volumes if "persistentVolumeClaim" in it]
    claim = claims[0]["claimName"]
    assert claim == the("PersistentVolumeClaim")["metadata"]["name"]
