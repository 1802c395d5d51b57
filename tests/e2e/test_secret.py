"""Secrets reach the replicas that use them, and show nowhere else."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from ctrlplane_gitops.providers.process.layout import Layout
from tests.e2e import specs
from tests.e2e.plane import Plane
from tests.e2e.server import digest

WEB, API, OTHER = "instance/acme/web", "instance/acme/api", "instance/globex/web"
ACME = "tenants/acme.yaml"
SOURCE = "{file: acme/cert.pem}"
# As they are given, and as they must not be found: unlike anything else on this machine.
TOKEN, CERT = "t0ken-of-acme-7f3a1c", "cert-of-acme-9b2e4d\nsecond line"
NEW_TOKEN, NEW_CERT = "t0ken-rotated-5d6e7f", "cert-rotated-1a2b3c"
VALUES = (TOKEN, CERT.partition("\n")[0], NEW_TOKEN, NEW_CERT)


@pytest.fixture
def running(plane: Plane) -> Plane:
    """acme's web and api share a variable, web has a file besides; globex has neither."""
    plane.begin("acme", "globex")
    text = specs.tenant("acme", "web", "api")
    head, web, api = text.partition("metadata: {tenant: acme, name: web}")
    second = api.index("kind: Instance")
    api, rest = api[:second], api[second:]
    files = "  files: [{path: app/server.py"
    text = "".join(
        (
            head + web,
            api.replace(files, f"  secrets: [token, cert]\n{files}"),
            rest.replace(files, f"  secrets: [token]\n{files}"),
            specs.secret("acme", "token", "{type: env, key: TOKEN, from: {env: ACME_TOKEN}}"),
            specs.secret("acme", "cert", f"{{type: file, path: {place(plane)}, from: {SOURCE}}}"),
        )
    )
    plane.write(ACME, text)
    plane.commit()
    plane.environ["ACME_TOKEN"] = TOKEN
    put(plane, CERT)
    done = plane.apply()
    assert done.code == 0, done.text
    return plane


def place(plane: Plane) -> str:
    """Where the replica finds the file."""
    return "/srv/cert.pem" if plane.engine.type == "docker" else "secret/cert.pem"


def put(plane: Plane, value: str) -> None:
    path = plane.secrets / "acme" / "cert.pem"
    path.parent.mkdir(exist_ok=True)
    path.write_text(value)
    path.chmod(0o600)


def seen(plane: Plane, address: str) -> set[tuple[str, str]]:
    """Digests of the variable and the file, as every replica of the instance sees them."""
    path = f"/file/{place(plane).removeprefix('/')}"
    tokens, certs = plane.answers(address, "/env/TOKEN"), plane.answers(address, path)
    return set(zip(tokens, certs, strict=True))


def sha(value: str) -> str:
    return digest(value.encode())


def test_each_replica_sees_the_secrets_of_its_instance(running: Plane) -> None:
    assert seen(running, WEB) == {(sha(TOKEN), sha(CERT))}
    assert seen(running, API) == {(sha(TOKEN), "no file")}
    assert seen(running, OTHER) == {(sha(""), "no file")}


def test_rotated_value_rolls_exactly_those_that_use_it(running: Plane) -> None:
    before = running.identities()
    put(running, NEW_CERT)
    plan = running.run("plan", "--detailed-exitcode")
    assert plan.code == 2
    assert "deployment/acme/web" in plan.out and "deployment/acme/api" not in plan.out
    assert running.apply().code == 0
    assert seen(running, WEB) == {(sha(TOKEN), sha(NEW_CERT))}
    assert moved(running, before) == {"web"}

    before = running.identities()
    running.environ["ACME_TOKEN"] = NEW_TOKEN
    assert running.apply().code == 0
    assert seen(running, WEB) == {(sha(NEW_TOKEN), sha(NEW_CERT))}
    assert seen(running, API) == {(sha(NEW_TOKEN), "no file")}
    assert moved(running, before) == {"web", "api"}
    running.assert_settled()


def moved(plane: Plane, before: dict[str, tuple[str, object]]) -> set[str]:
    """acme's instances whose replicas are not those of before; globex's must be."""
    after = plane.identities()
    names = {name for name in {*before, *after} if before.get(name) != after.get(name)}
    assert all(name.split(".")[1] == "acme" for name in names)
    return {name.split(".")[2] for name in names}


def test_no_value_shows_anywhere_else(running: Plane, tmp_path: Path) -> None:
    running.environ["ACME_TOKEN"] = NEW_TOKEN
    put(running, NEW_CERT)
    plan = tmp_path / "plan.json"
    for arguments in (
        ("validate",),
        ("plan", "--out", str(plan)),
        ("plan", "--json"),
        ("plan", "--format", "markdown"),
        ("apply", "-y", "--json"),
        ("status",),
        ("status", "--json"),
        ("get",),
        ("get", "--json"),
        ("history", WEB),
        ("history", WEB, "--json"),
        ("history", "--audit", "--json"),
        ("events", "--json"),
        ("logs", WEB),
        ("rollback", WEB, "-y"),
        ("plan", "--destroy"),
    ):
        assert running.run(*arguments).code in (0, 65), arguments
    looked = dict(places(running, tmp_path))
    for kind in ("printed", "files", "command lines", *ENGINE_KINDS[running.engine.type]):
        assert looked[kind], f"{kind} were not looked at"
    for kind, texts in looked.items():
        for text in texts:
            for value in VALUES:
                assert value.encode() not in text, f"{kind}: {text[:300]!r}"


ENGINE_KINDS = {"process": ("environments of keepers",), "docker": ("containers", "processes")}


def places(plane: Plane, root: Path) -> Iterator[tuple[str, list[bytes]]]:
    """Everything a value could have leaked to, by what it is. The operator's own folder of secrets
    is the source; a replica's working directory links to files on a tmpfs."""
    yield "printed", [text.encode() for text in plane.said]
    files = [path for path in root.rglob("*") if path.is_file() and not path.is_symlink()]
    ours = [path for path in files if not path.is_relative_to(plane.secrets)]
    assert {"state.db", "plan.json"} <= {path.name for path in ours}
    yield "files", [path.read_bytes() for path in ours]
    lines, environments = [], []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with suppress(OSError):
                line = (entry / "cmdline").read_bytes()
                lines.append(line)
                if b"keeper.py" in line and os.fsencode(plane.state) in line:
                    environments.append((entry / "environ").read_bytes())
    yield "command lines", lines
    if plane.engine.type == "process":
        yield "environments of keepers", environments
        return
    with plane.docker() as client:
        rows = client.containers(all=True, filters={"label": f"ctrlplane.dev/plane={plane.name}"})
        inspected = [client.inspect_container(row["Id"]) for row in rows]
        tops = [client.top(row["Id"]) for row in rows]
    for item in inspected:
        # Docker shows a container's environment to whoever may speak to it: there is no other way
        # to hand one over.
        assert any(text.startswith("VERSION=") for text in item["Config"].pop("Env"))
    yield "containers", [json.dumps(item).encode() for item in (*rows, *inspected)]
    yield "processes", [json.dumps(item).encode() for item in tops]


def test_secret_files_lie_on_a_tmpfs_and_leave_with_the_replicas(running: Plane) -> None:
    folders = memory_folders(running)
    found = in_memory(folders, NEW_CERT, CERT)
    assert found
    assert all(path.parent.stat().st_mode & 0o077 == 0 for path in found)
    done = running.run("destroy", "-y")
    assert done.code == 0, done.text
    assert in_memory(folders, NEW_CERT, CERT) == []


def memory_folders(plane: Plane) -> set[str]:
    """What the plane's folders on the tmpfs are called."""
    layout = Layout(str(plane.state / plane.name))
    return {plane.name, *(layout.token(slug) for slug in layout.scan())}


def in_memory(folders: Collection[str], *values: str) -> list[Path]:
    """Files in these folders on the tmpfs that hold one of the values: others use it as well."""
    wanted = {value.encode() for value in values}
    folder = Path("/dev/shm") / f"ctrlplane-{os.getuid()}"
    found = []
    for path in folder.rglob("*"):
        with suppress(OSError):
            is_ours = not set(folders).isdisjoint(path.parts)
            if is_ours and path.is_file() and path.read_bytes() in wanted:
                found.append(path)
    return found


def test_missing_secret_holds_back_its_tenant_alone(running: Plane) -> None:
    before = running.identities()
    (running.secrets / "acme" / "cert.pem").unlink()
    running.edit(ACME, 'VERSION: "1"', 'VERSION: "2"', count=2)
    running.edit("tenants/globex.yaml", 'VERSION: "1"', 'VERSION: "2"')
    for arguments in (("plan",), ("apply", "-y")):
        done = running.run(*arguments)
        assert (done.code, done.effects) == (65, ()), done.text
        assert f"{ACME}:" in done.text and "acme/cert.pem" in done.text
        assert "does not exist" in done.text

    done = running.apply("--keep-going")
    assert done.code == 3, done.text
    assert running.answers(OTHER) == ["Hello from globex, version 2\n"]
    after = running.identities()
    assert {name: item for name, item in after.items() if ".acme." in name} == {
        name: item for name, item in before.items() if ".acme." in name
    }
    put(running, CERT)
    assert running.apply().code == 0
    assert running.answers(WEB) == ["Hello from acme, version 2\n"]


def test_command_that_names_a_secret_is_refused(local: Plane) -> None:
    """Arguments are seen by everybody on the machine."""
    plane = local
    plane.begin("acme")
    spec = "{type: env, key: TOKEN, from: {env: ACME_TOKEN}}"
    plane.environ["ACME_TOKEN"] = TOKEN
    plane.write(ACME, (plane.repo / ACME).read_text() + specs.secret("acme", "token", spec))
    plane.edit(ACME, "  files:", "  secrets: [token]\n  files:")
    plane.edit(ACME, "app/server.py]", "app/server.py, $(TOKEN)]")
    done = plane.apply()
    assert done.code != 0
    assert "TOKEN" in done.text and TOKEN not in done.text
    assert plane.replicas() == {}
