"""What a forge is told of the commits that ``serve`` makes passes of."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.hook_kit import Origin
from tests.e2e.plane import Plane, wait_until
from tests.e2e.serve_kit import RARELY, Serve, ends, serving
from tests.forge.forge_server import TOKEN, ForgeServer, forge_server

FILE = "tenants/acme.yaml"


@pytest.fixture(params=["github", "gitlab", "forgejo"])
def forge(request: pytest.FixtureRequest) -> Iterator[ForgeServer]:
    with forge_server(request.param) as server:
        yield server


def told(plane: Plane, forge: ForgeServer) -> Origin:
    """A repository whose commits the forge is told of."""
    plane.begin("acme", "globex")
    plane.environ |= {
        "CTRLPLANE_FORGE": forge.kind,
        "CTRLPLANE_FORGE_API": forge.api,
        "CTRLPLANE_FORGE_URL": "https://git.example.com/acme/prod.git",
        "CTRLPLANE_FORGE_TOKEN": TOKEN,
    }
    return Origin(plane)


def wait_states(forge: ForgeServer, commit: str, *states: str) -> None:
    try:
        wait_until(lambda: forge.states(commit) == list(states))
    except AssertionError:
        raise AssertionError(forge.statuses) from None


def show_no_token(serve: Serve) -> None:
    assert TOKEN not in "\n".join(serve.lines)
    assert TOKEN not in str(serve.get("/api/v1/workers"))


def test_a_commit_is_told_of_from_its_pass_to_what_became_of_it(
    local: Plane, forge: ForgeServer
) -> None:
    origin, plane = told(local, forge), local
    page = ("--public-url", "https://prod.example.com/ui")
    failed = {"gitlab": "failed"}.get(forge.kind, "failure")
    with serving(plane, *origin.arguments, *RARELY, *page) as serve:
        origin.tell(serve.url)
        first = plane.git("rev-parse", "HEAD")
        wait_states(forge, first, "pending", "success")
        plane.edit(FILE, 'VERSION: "1"', 'VERSION: "2"')
        second = origin.push()
        wait_states(forge, second, "pending", "success")
        plane.write("notes.txt", "nothing that runs")
        plane.commit()
        third = origin.push()
        wait_until(lambda: forge.states(third)[-1:] == ["success"])
        plane.edit(FILE, "replicas: 1", "replicas: many")
        broken = origin.push()
        wait_until(lambda: forge.states(broken)[-1:] == [failed])
        assert {row[3] for row in forge.statuses} == {f"ctrlplane-gitops/{plane.name}"}
        assert {row[4] for row in forge.statuses} == {page[1]}
        assert FILE in forge.statuses[-1][2]
        show_no_token(serve)
    plane.edit(FILE, "replicas: many", "replicas: 1")


def test_a_forge_that_is_down_holds_up_nobody_and_is_told_later(local: Plane) -> None:
    with forge_server("github") as forge:
        origin, plane = told(local, forge), local
        forge.refusals = [(502, {})]
        with serving(plane, *origin.arguments, *RARELY) as serve:
            serve.wait_for("pass applied", "everything")
            first = plane.git("rev-parse", "HEAD")
            serve.wait_for("worker forge: the commit status could not be set", "502 Bad Gateway")
            wait_states(forge, first, "success")
            show_no_token(serve)


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("CTRLPLANE_FORGE", "svn", "'svn' is not one of github, gitlab, gitea, forgejo"),
        ("CTRLPLANE_FORGE_URL", "/srv/prod.git", "CTRLPLANE_FORGE_URL"),
        ("CTRLPLANE_FORGE_API", "http://git.example.com", "in clear"),
    ],
)
def test_what_cannot_work_is_wrong_usage(
    local: Plane, variable: str, value: str, says: str
) -> None:
    with forge_server("github") as forge:
        told(local, forge)
        local.environ[variable] = value
        code, said = ends(local.start("serve", "--listen", "127.0.0.1:0"))
    assert code == 64 and says in said and TOKEN not in said
