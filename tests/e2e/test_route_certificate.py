"""Certificates that are issued for routes, as clients of real routers see them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ctrlplane_gitops.execute.pool import Begun
from ctrlplane_gitops.network.conformance_kit import Client, make_certificate
from tests.certificates.authority_kit import make_pem
from tests.e2e.plane import wait_until
from tests.e2e.route_kit import RouteWorld, app, assert_settled
from tests.e2e.test_route_served import route

NAME = "tls.test"
AUTO = route("tls", f"instance: web, hosts: [{NAME}, b.test], tls: {{certificate: auto}}")


def write(world: RouteWorld, certificates: str = "", more: str = AUTO) -> None:
    world.write(app(world, "one", "type: rolling") + more)
    if certificates:
        with (world.root / "repo" / "ctrlplane.yaml").open("a") as file:
            file.write(f"  certificates: {{{certificates}}}\n")


def apply(world: RouteWorld) -> None:
    assert world.run("apply", "-y") == 0, world.output + world.errors
    assert "PRIVATE" not in world.output + world.errors
    assert_settled(world, "with a certificate")


def see(world: RouteWorld, anchor: str, host: str = NAME) -> str:
    """The certificate that is shown, which a client that trusts ``anchor`` alone believes."""
    context = ssl.create_default_context(cadata=anchor)
    client = Client(world.secure_port, host, context)
    shown = client.peer_certificate()
    client.close()
    client = Client(world.secure_port, host, context)
    body = client.get("/").body
    client.close()
    assert body == "one /"
    return shown


def own_anchor(world: RouteWorld) -> str:
    return (world.state_dir / "certificates" / "ca.crt").read_text()


def test_a_certificate_is_issued_believed_and_renewed_without_a_failed_request(
    served: RouteWorld,
) -> None:
    write(served, "duration: 2h, renewBefore: 1h")
    assert served.run("plan") == 0, served.errors
    assert '+ certificate = "will be issued"' in served.output
    assert not (served.state_dir / "certificates").exists(), "a plan changes nothing"
    apply(served)
    first = see(served, own_anchor(served))
    assert see(served, own_anchor(served), "b.test") == first
    pids = served.servers()

    write(served, "duration: 90d, renewBefore: 3h")
    assert served.run("plan") == 0, served.errors
    assert "1 to change" in served.output and "will be issued" in served.output
    with served.load() as met:
        apply(served)
    assert met["failures"] == [] and served.servers() == pids
    assert see(served, own_anchor(served)) != first
    assert served.run("events", "--type", "certificate.") == 0
    assert "certificate.issued" in served.output and "certificate.renewed" in served.output
    assert b"PRIVATE" not in (served.state_dir / "state.db").read_bytes()


def test_what_is_lost_or_damaged_is_issued_anew(served: RouteWorld) -> None:
    write(served)
    apply(served)
    issued = served.state_dir / "certificates" / "issued"
    [path] = issued.glob("*/*.json")
    assert path.stat().st_mode & 0o77 == 0
    seen = {see(served, own_anchor(served))}
    for damage in (lambda: shutil.rmtree(issued), lambda: path.write_text(path.read_text()[:-90])):
        damage()
        assert served.run("plan", "--detailed-exitcode") == 2, served.output
        apply(served)
        seen.add(see(served, own_anchor(served)))
    assert len(seen) == 3


def test_another_authority_is_a_certificate_of_its_own_and_both_kinds_live_side_by_side(
    served: RouteWorld, tmp_path: Path
) -> None:
    place = tmp_path / "secrets"
    place.mkdir()
    served.environ["CTRLPLANE_SECRETS_DIR"] = str(place)
    write(served)
    apply(served)
    before = see(served, own_anchor(served))
    given = make_pem("ec")
    (place / "ca.pem").write_bytes(given)
    (place / "site.pem").write_bytes(make_certificate(tmp_path, "c.test").reveal())
    header = "---\napiVersion: ctrlplane.dev/v1\n"
    secret = (
        f"{header}kind: Secret\nmetadata: {{tenant: acme, name: tls}}\n"
        "spec: {type: tls, from: {file: site.pem}}\n"
    )
    # A secret and a certificate of one name are two.
    other = route("other", "instance: web, hosts: [c.test], tls: {certificate: tls}")
    write(served, "from: {file: ca.pem}", AUTO + secret + other)
    apply(served)
    anchor = given.decode().partition("-----BEGIN PRIV")[0]
    assert see(served, anchor) != before
    assert own_anchor(served), "the one before is kept"

    (place / "ca.pem").unlink()
    assert served.run("plan") == 0, served.output + served.errors
    assert "certificates are not renewed" in served.output
    assert see(served, anchor)


def test_hosts_that_change_and_routes_that_go(served: RouteWorld) -> None:
    write(served)
    apply(served)
    write(served, more=AUTO.replace("b.test", "d.test"))
    apply(served)
    assert see(served, own_anchor(served), "d.test")
    write(served, more="")
    apply(served)
    assert kinds(served) == []
    write(served)
    apply(served)
    assert kinds(served) == [("certificate",)]
    assert served.run("destroy", "-y") == 0, served.errors
    assert kinds(served) == []


def kinds(world: RouteWorld) -> list[tuple[str]]:
    return world.query("SELECT kind FROM resources WHERE kind = 'certificate'")


def test_an_authority_that_cannot_be_used_holds_back_its_routes_tenant_and_says_why(
    served: RouteWorld,
) -> None:
    write(served)
    home = served.state_dir / "certificates"
    home.mkdir(parents=True)
    (home / "ca.pem").write_text("nothing\n")
    assert served.run("apply", "-y") == 65
    assert "no certificate can be issued for route/acme/tls" in served.errors + served.output
    assert "in PEM" in served.errors + served.output
    (home / "ca.pem").unlink()
    apply(served)
    assert see(served, own_anchor(served))


@contextmanager
def serving(world: RouteWorld, *arguments: str) -> Iterator[str]:
    """The address of a serve in a process of its own."""
    command = [sys.executable, "-m", "ctrlplane_gitops", "--chdir", str(world.root / "repo")]
    command += ["serve", "--listen", "127.0.0.1:0", *arguments]
    environ = {**os.environ, **world.environ}
    with subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            line = next(line for line in process.stderr if "listening on" in line)
            Begun(lambda: [None for _ in process.stderr or ()])
            yield line.split()[-1]
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(15) == 0


def test_serve_renews_and_the_status_says_until_when(served: RouteWorld, tmp_path: Path) -> None:
    place = tmp_path / "secrets"
    place.mkdir()
    served.environ["CTRLPLANE_SECRETS_DIR"] = str(place)
    (place / "site.pem").write_bytes(make_certificate(tmp_path, "c.test").reveal())
    header = "---\napiVersion: ctrlplane.dev/v1\n"
    secret = (
        f"{header}kind: Secret\nmetadata: {{tenant: acme, name: site}}\n"
        "spec: {type: tls, from: {file: site.pem}}\n"
    )
    other = route("other", "instance: web, hosts: [c.test], tls: {certificate: site}")
    write(served, "duration: 2h, renewBefore: 1h", AUTO + secret + other)
    apply(served)
    first = see(served, own_anchor(served))
    assert served.run("status") == 0, served.errors
    lines = [line.strip() for line in served.output.splitlines() if "certificate" in line]
    assert [line.partition(" until ")[0] for line in lines] == [
        "route/acme/other: certificate",
        "route/acme/tls: certificate",
    ]
    assert lines[1].endswith("(b.test, tls.test)")

    write(served, "duration: 90d, renewBefore: 3h", AUTO + secret + other)
    with served.load() as met, serving(served, "--interval", "1s") as url:
        wait_until(lambda: see(served, own_anchor(served)) != first)
        status = json.loads(urllib.request.urlopen(f"{url}/api/v1/status", timeout=10).read())

        def figures() -> list[str]:
            return urllib.request.urlopen(f"{url}/metrics", timeout=10).read().decode().split("\n")

        wait_until(lambda: "ctrlplane_certificates_renewed_total 1.0" in figures())
        assert not any("collected_total" in x and "renewed" in x for x in figures())
    assert met["failures"] == []
    [web] = status["instances"]
    found = {item["route"]: item for item in web["certificates"]}
    assert found["route/acme/tls"]["is_issued"] and not found["route/acme/other"]["is_issued"]
    assert served.run("events", "--type", "certificate.renewed") == 0
    assert "route/acme/tls" in served.output
