"""The specs of the traffic tests are what a user may write."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from ctrlplane_gitops.cli.main import main
from tests.load.specs import APP_FILE, PLANE_FILE, STRATEGIES, WEB_FILE, Traffic


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("router", ["traefik", "haproxy"])
def test_they_are_valid(strategy: str, router: str, tmp_path: Path) -> None:
    """But for strategies this version may refuse by name."""
    traffic = Traffic({"type": "process"}, {"type": router}, strategy)
    for path, text in traffic.files("2", ERROR_PERCENT="20").items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    out, err = io.StringIO(), io.StringIO()
    main(["--chdir", str(tmp_path), "validate"], {}, out=out, err=err)
    said = [line for line in (out.getvalue() + err.getvalue()).splitlines() if ": error:" in line]
    assert [line for line in said if "[unsupported-strategy]" not in line] == []


def test_another_version_or_more_env_is_another_text_of_one_file() -> None:
    traffic = Traffic({"type": "process"}, {"type": "traefik"}, "canary")
    one, two = traffic.files("1"), traffic.files("2")
    assert {path for path in one if one[path] != two[path]} == {WEB_FILE}
    assert set(one) == {APP_FILE, PLANE_FILE, WEB_FILE}
    assert '"ERROR_PERCENT": "20"' in traffic.web_text("1", ERROR_PERCENT="20")
