"""The Flask extension in applications that have routes, checks and error pages of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, Response, g, request

from ctrlplane_gitops.errors import UsageError
from ctrlplane_gitops.extension import CtrlPlaneGitOps
from tests.api.page_kit import read_page
from tests.e2e.plane import Plane, wait_until
from tests.engines.program import free_port

EXAMPLE = Path(__file__).parents[2] / "examples/flask/app.py"


def make_host(plane: Plane, **config: Any) -> Flask:
    """An application of somebody else's, with opinions."""
    app = Flask(f"host-{plane.name}")
    app.json.sort_keys = True  # type: ignore[attr-defined]
    app.jinja_env.autoescape = False
    app.config.update(
        CTRLPLANE_SOURCE=str(plane.repo),
        CTRLPLANE_POLL="1s",
        CTRLPLANE_INSECURE=True,
        **{name: text for name, text in plane.environ.items() if name.startswith("CTRLPLANE_")},
    )
    app.config.update(config)

    @app.before_request
    def check() -> Response | None:
        g.has_checked = True
        if request.headers.get("X-Blocked"):
            return Response("the host says no", 403)
        return None

    @app.get("/")
    def home() -> str:
        return "the host's own page"

    @app.get("/boom")
    def boom() -> str:
        raise RuntimeError("of the host")

    @app.errorhandler(404)
    def nowhere(error: object) -> tuple[str, int]:
        return "the host's own 404", 404

    @app.errorhandler(RuntimeError)
    def broken(error: object) -> tuple[str, int]:
        return "the host's own 500", 500

    return app


@pytest.fixture
def host(local: Plane) -> Iterator[Flask]:
    local.begin("acme", "globex")
    app = make_host(local)
    extension = CtrlPlaneGitOps(app)
    with extension.running():
        wait_ready(app)
        yield app
    wait_until(lambda: not ours())


def ours() -> list[str]:
    """Threads of a control plane that are still there."""
    names = ("scheduler", "source", "reconciler", "status", "action", "look", "probe", "health")
    return [item.name for item in threading.enumerate() if item.name.startswith(names)]


def wait_ready(app: Flask, prefix: str = "/ctrlplane") -> None:
    """Until everything runs."""
    client = app.test_client()
    wait_until(lambda: client.get(f"{prefix}/readyz").status_code == 200, 60)
    everybody = len(client.get(f"{prefix}/api/v1/instances").get_json()["items"])
    running = f"{prefix}/api/v1/instances?phase=running"
    wait_until(lambda: len(client.get(running).get_json()["items"]) == everybody, 60)


def test_api_and_pages_are_below_the_prefix_and_lead_nowhere_else(host: Flask) -> None:
    client = host.test_client()
    paths = ["/ctrlplane/"]
    wait_until(lambda: "running" in client.get("/ctrlplane/").text)
    for path in (*paths, "/ctrlplane/tenants/acme/instances/web", "/ctrlplane/events"):
        page = read_page(client.get(path).text)
        assert page.links
        assert [link for link in page.links if not link.startswith(("/ctrlplane/", "#"))] == []
        assert [form for form in page.forms if not form.startswith("/ctrlplane/")] == []
        paths += [link for link in page.links if link.startswith("/ctrlplane/")]
    for path in dict.fromkeys(paths):
        assert client.get(path).status_code == 200, path
    names = [item["name"] for item in client.get("/ctrlplane/api/v1/instances").get_json()["items"]]
    assert names == ["web", "web"]


def test_the_host_s_routes_and_errors_are_its_own_and_ours_are_ours(host: Flask) -> None:
    host.config["PROPAGATE_EXCEPTIONS"] = False
    client = host.test_client()
    assert client.get("/").text == "the host's own page"
    assert client.get("/nowhere").text == "the host's own 404"
    assert client.get("/boom").text == "the host's own 500"
    assert "Content-Security-Policy" not in client.get("/").headers
    assert "Cache-Control" not in client.get("/").headers
    big = {"Content-Length": str(10**9)}
    assert client.post("/", headers=big).status_code == 405
    problem = client.get("/ctrlplane/api/v1/tenants/nobody")
    assert problem.content_type == "application/problem+json"
    assert "Nothing is here" in client.get("/ctrlplane/tenants/nobody").text


def test_the_host_s_checks_are_made_for_us_too(host: Flask) -> None:
    client = host.test_client()
    for path in ("/ctrlplane/", "/ctrlplane/api/v1/tenants"):
        answer = client.get(path, headers={"X-Blocked": "1"})
        assert (answer.status_code, answer.text) == (403, "the host says no")


def test_a_commit_is_applied_by_the_workers_in_the_host_s_process(
    host: Flask, local: Plane
) -> None:
    local.edit("tenants/acme.yaml", 'VERSION: "1"', 'VERSION: "2"')
    page = "/ctrlplane/tenants/acme/instances/web"
    wait_until(lambda: "To v2 from v1: done" in host.test_client().get(page).text, 60)
    assert local.answers("instance/acme/web") == ["Hello from acme, version 2\n"]


def test_two_applications_live_side_by_side(make_plane: Callable[..., Plane], host: Flask) -> None:
    from tests.e2e.plane import Engine

    other = make_plane(Engine("process"), "other")
    other.begin("umbrella")
    extension = CtrlPlaneGitOps()
    app = make_host(other, CTRLPLANE_PREFIX="/fleet/")
    extension.init_app(app)
    with extension.running(app):
        wait_ready(app, "/fleet")
        wait_until(lambda: "umbrella/web" in app.test_client().get("/fleet/").text)
        assert "umbrella" not in host.test_client().get("/ctrlplane/").text
        assert "acme" not in app.test_client().get("/fleet/").text
        assert app.test_client().get("/ctrlplane/").text == "the host's own 404"


def test_without_tokens_nobody_is_let_in_unless_the_host_says_so(local: Plane) -> None:
    local.begin("acme")
    app = make_host(local, CTRLPLANE_INSECURE=False)
    extension = CtrlPlaneGitOps(app)
    client = app.test_client()
    assert client.get("/ctrlplane/api/v1/tenants").status_code == 401
    answer = client.get("/ctrlplane/plan")
    assert answer.headers["Location"] == "/ctrlplane/login?next=/ctrlplane/plan"
    assert client.get("/").status_code == 200
    assert extension.stop() is True


def test_mounting_starts_nothing_and_stopping_is_for_good(local: Plane) -> None:
    local.begin("acme")
    extension = CtrlPlaneGitOps(make_host(local))
    time.sleep(0.3)
    assert ours() == []
    assert extension.stop() is True
    with pytest.raises(UsageError, match="it was stopped"):
        extension.start()


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"CTRLPLANE_SOURCE": None}, "says no CTRLPLANE_SOURCE"),
        ({"CTRLPLANE_SOURCE": "/nowhere"}, "/nowhere is not a directory"),
        ({"CTRLPLANE_POLL": "soon"}, "CTRLPLANE_POLL: 'soon' is not a duration"),
        ({"CTRLPLANE_INTERVAL": "10ms"}, "CTRLPLANE_INTERVAL: the shortest is 1s"),
        ({"CTRLPLANE_PREFIX": "fleet"}, "does not begin with a slash"),
    ],
)
def test_a_setting_that_cannot_be_is_told_at_once(
    local: Plane, config: dict[str, Any], said: str
) -> None:
    local.begin("acme")
    with pytest.raises(UsageError, match=said):
        CtrlPlaneGitOps(make_host(local, **config))


def test_the_example_serves_its_own_page_and_ours_and_stops_cleanly(tmp_path: Path) -> None:
    port = free_port()
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PORT": str(port),
        "CTRLPLANE_STATE_DIR": str(tmp_path / "state"),
        "CTRLPLANE_CACHE_DIR": str(tmp_path / "cache"),
    }
    repo = EXAMPLE.parents[1] / "quickstart"
    command = [sys.executable, str(EXAMPLE)]
    with subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True) as process:
        try:
            ready = f"http://127.0.0.1:{port}/platform/readyz"
            wait_until(lambda: _answers(ready), 30)
            assert "shop's own page" in _read(f"http://127.0.0.1:{port}/")
            page = f"http://127.0.0.1:{port}/platform/tenants/acme/instances/web"
            assert "Replica sets" in _read(page)
        finally:
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=20)
            destroy = [sys.executable, "-m", "ctrlplane_gitops", "--chdir", str(repo)]
            subprocess.run([*destroy, "destroy", "-y"], env=environ, check=True, stdout=-3)
    assert process.returncode == 0, said
    assert "Traceback" not in said


def _read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


def _answers(url: str) -> bool:
    try:
        return bool(_read(url))
    except OSError:
        return False
