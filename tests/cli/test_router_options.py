"""What is wrong with ``spec.router`` is found before anything is asked or made."""

from __future__ import annotations

from pathlib import Path

import pytest

from ctrlplane_gitops.cli.exit_codes import ExitCode
from tests.cli.road import Road
from tests.e2e.crash_kit import MEMORY

OWN = "type: haproxy, managed: false, directory: /etc/haproxy/ctrlplane, socket: /run/h.sock"


@pytest.mark.parametrize(
    ("router", "cause", "hint"),
    [
        (f"{{{OWN}, entryPoints: {{web: ':80'}}}}", "masterSocket is missing", "-W -S"),
        ("{type: haproxy, socket: /run/h.sock}", "socket has no meaning", "managed: false"),
        ("{type: haproxy, binray: /x}", "no option 'binray'", "did you mean 'binary'?"),
        ("{type: traefik, managed: false}", "directory is missing", "your Traefik watches"),
        ("{type: traefik, entryPoints: {web: 80}}", "not an address", ":8080"),
        ("{type: gateway}", "gateway is missing", "<namespace>/<name>"),
        ("{type: gateway, gateway: a/b, kubeconfig: x}", "no option 'kubeconfig'", "known"),
        ("{type: memory, gpa: down}", "no option 'gpa'", "did you mean 'gap'?"),
    ],
)
def test_options_of_a_router_are_held_against_what_it_has(
    tmp_path: Path, router: str, cause: str, hint: str
) -> None:
    road = Road(tmp_path, MEMORY, router=router)
    road.release("1")
    for verb in (["validate"], ["plan"], ["apply", "-y"]):
        assert road.run(*verb) == ExitCode.INVALID
        assert "ctrlplane.yaml:4:" in road.errors, road.errors
        assert cause in road.errors and hint in road.errors
        assert "[router-options]" in road.errors
    assert not (tmp_path / "state").exists()
