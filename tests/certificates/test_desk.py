"""Which certificates there are, which have to be issued, and by whom."""

from __future__ import annotations

import json
import multiprocessing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ctrlplane_gitops.certificates.authority import LocalAuthority
from ctrlplane_gitops.certificates.base import Issued, Request
from ctrlplane_gitops.certificates.desk import CertificateDesk
from ctrlplane_gitops.certificates.registry import build_desk
from ctrlplane_gitops.certificates.shelf import Shelf
from ctrlplane_gitops.clock import FakeClock, SystemClock
from ctrlplane_gitops.errors import CertificateError, UsageError
from ctrlplane_gitops.redact import SecretValue
from ctrlplane_gitops.state.desired import CertificatePolicy, ControlPlane
from ctrlplane_gitops.state.key import Kind, ResourceKey
from tests.certificates.authority_kit import make_pem

WEB = ResourceKey(Kind.CERTIFICATE, "acme", "web")
API = ResourceKey(Kind.CERTIFICATE, "acme", "api")
HOSTS = ("a.test", "b.test")
DAY = timedelta(days=1)
START = datetime(2026, 3, 1, tzinfo=UTC)


class CountedIssuer:
    """Counts, and fails while ``is_broken``."""

    name = "counted"

    def __init__(self) -> None:
        self.count, self.identity, self.is_broken = 0, "one", False

    def identify(self) -> str:
        if self.is_broken:
            raise CertificateError("out of reach", hint="wait")
        return self.identity

    def check(self, now: datetime) -> None:
        self.identify()

    def issue(self, request: Request, now: datetime) -> Issued:
        self.check(now)
        self.count += 1
        pem = SecretValue(f"{self.count} {request.hosts}".encode())
        return Issued(pem, now, now + request.duration)


class Scene:
    def __init__(self, root: Path, *, is_renewing: bool = True) -> None:
        self.clock, self.issuer, self.shelf = FakeClock(START), CountedIssuer(), Shelf(root)
        self.root = root
        self.desk = CertificateDesk(
            "prod", CertificatePolicy(), self.issuer, self.shelf, self.clock,
            is_renewing=is_renewing,
        )  # fmt: skip

    def reason(self, hosts: tuple[str, ...] = HOSTS) -> str:
        return self.desk.look({WEB: hosts}).found[WEB].reason

    @property
    def path(self) -> Path:
        return self.root / "acme" / "web.json"


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """With one that was just issued."""
    made = Scene(tmp_path)
    assert made.reason() == "there is none that can be used"
    issued = made.desk.issue(WEB, HOSTS)
    assert issued.is_new and issued.not_after == START + 90 * DAY
    return made


def test_what_there_is_is_as_it_was_issued(scene: Scene) -> None:
    looked = scene.desk.look({WEB: HOSTS, API: HOSTS})
    assert looked.found[WEB].digest and not looked.found[API].digest
    assert looked.values == {WEB: scene.desk.value_of(WEB)}
    assert scene.issuer.count == 1, "looking issues nothing"


def test_it_is_renewed_when_less_is_left_than_it_should_have(scene: Scene) -> None:
    scene.clock.advance(60 * DAY)
    assert scene.reason() == ""
    scene.clock.advance(timedelta(seconds=1))
    assert scene.reason() == "it expires 2026-05-30"
    before = scene.desk.value_of(WEB)
    assert scene.desk.look({WEB: HOSTS}).values[WEB] == before, "it can be shown meanwhile"
    assert scene.desk.issue(WEB, HOSTS).is_new and scene.desk.value_of(WEB) != before
    assert scene.reason() == ""


def test_who_does_not_renew_issues_only_what_cannot_be_shown_any_more(tmp_path: Path) -> None:
    scene = Scene(tmp_path, is_renewing=False)
    scene.desk.issue(WEB, HOSTS)
    scene.clock.advance(90 * DAY - timedelta(seconds=1))
    assert scene.reason() == ""
    scene.clock.advance(timedelta(seconds=1))
    assert scene.reason() == "it has expired"


def test_other_hosts_and_another_authority_are_another_certificate(scene: Scene) -> None:
    assert scene.reason(("a.test",)) == "it is for other hosts"
    scene.issuer.identity = "two"
    assert scene.reason() == "the authority is another one"


def test_an_authority_out_of_reach_leaves_what_is_good(scene: Scene) -> None:
    scene.issuer.is_broken = True
    looked = scene.desk.look({WEB: HOSTS, API: HOSTS})
    assert looked.found[WEB].digest and looked.unready == [API]
    assert looked.error is not None and looked.error.hint == "wait"
    scene.clock.advance(70 * DAY)
    looked = scene.desk.look({WEB: HOSTS})
    assert looked.found[WEB].digest and looked.unready == []
    scene.clock.advance(20 * DAY)
    assert scene.desk.look({WEB: HOSTS}).unready == [WEB]


def cut(path: Path) -> None:
    path.write_text(path.read_text()[:-5])


def change_pem(path: Path) -> None:
    raw = json.loads(path.read_text())
    path.write_text(json.dumps({**raw, "pem": raw["pem"] + "\n"}))


def change_type(path: Path) -> None:
    path.write_text("[1, 2]")


def remove(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("damage", [cut, change_pem, change_type, remove])
def test_what_is_damaged_is_none(scene: Scene, damage) -> None:
    damage(scene.path)
    looked = scene.desk.look({WEB: HOSTS})
    assert (looked.found[WEB].digest, looked.values) == ("", {})
    assert scene.desk.issue(WEB, HOSTS).is_new
    assert scene.reason() == ""


def test_what_somebody_else_has_issued_meanwhile_is_taken(scene: Scene, tmp_path: Path) -> None:
    other = CertificateDesk("prod", CertificatePolicy(), scene.issuer, scene.shelf, scene.clock)
    issued = other.issue(WEB, HOSTS)
    assert not issued.is_new and scene.issuer.count == 1


def test_a_certificate_that_ends_with_its_authority_is_not_renewed_again_and_again(
    tmp_path: Path,
) -> None:
    clock = SystemClock()
    pem = SecretValue(make_pem("ec", life=10 * DAY))
    issuer = LocalAuthority("prod", tmp_path / "ca", lambda: pem)
    desk = CertificateDesk("prod", CertificatePolicy(), issuer, Shelf(tmp_path / "i"), clock)
    desk.issue(WEB, HOSTS)
    assert desk.look({WEB: HOSTS}).found[WEB].digest


def _issue(root: str, start: float) -> str:
    clock = SystemClock()
    while clock.now().timestamp() < start:
        pass
    plane = ControlPlane("prod", {}, "")
    desk = build_desk(plane, Path(root), None, clock)
    issued = [desk.issue(key, HOSTS).digest for key in (WEB, API)]
    return f"{issued} {(Path(root) / 'certificates/ca.crt').read_text()}"


def test_processes_that_begin_at_once_make_one_authority_and_one_certificate_each(
    tmp_path: Path,
) -> None:
    start = SystemClock().now().timestamp() + 1.5
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        found = pool.starmap(_issue, [(str(tmp_path), start)] * 4)
    assert len(set(found)) == 1


def test_the_shelf_knows_what_lies_there_and_lets_it_go(scene: Scene) -> None:
    assert list(scene.shelf.list_keys()) == [WEB]
    assert scene.path.stat().st_mode & 0o77 == 0
    for _ in range(2):
        scene.shelf.remove(WEB)
    assert list(scene.shelf.list_keys()) == [] and not scene.path.parent.exists()


def test_an_issuer_that_is_none_is_refused_with_what_was_meant(tmp_path: Path) -> None:
    plane = ControlPlane("prod", {}, "", certificates=CertificatePolicy("caa"))
    with pytest.raises(UsageError) as caught:
        build_desk(plane, tmp_path, None, SystemClock())
    assert "did you mean 'ca'" in str(caught.value.hint)
