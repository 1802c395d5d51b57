"""The renewer of certificates against a real repository and store, month by month."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from ctrlplane_gitops.certificates.authority import LocalAuthority
from ctrlplane_gitops.certificates.base import Request
from ctrlplane_gitops.certificates.desk import CertificateDesk
from ctrlplane_gitops.certificates.registry import build_desk
from ctrlplane_gitops.certificates.validity import read_not_after
from ctrlplane_gitops.network.memory import MemoryRouter
from ctrlplane_gitops.network.router import RouterSettings
from ctrlplane_gitops.reconcile.follow import Follower
from ctrlplane_gitops.reconcile.report import PassOutcome
from ctrlplane_gitops.reconcile.run import PassParts
from ctrlplane_gitops.redact import SecretValue
from ctrlplane_gitops.secrets.env import EnvBackend
from ctrlplane_gitops.source.latest import LatestSource
from ctrlplane_gitops.state.desired import ControlPlane
from ctrlplane_gitops.state.key import Kind, ResourceKey
from ctrlplane_gitops.state.log import EventFilter, Page
from ctrlplane_gitops.workers.cert_renewer import CertRenewer
from ctrlplane_gitops.workers.poller import Poller
from ctrlplane_gitops.workers.reconciler import Reconciler
from ctrlplane_gitops.workers.worker import Ran
from tests.certificates.authority_kit import make_pem
from tests.reconcile.follow_kit import HEADER, PLANE, app, route, tenant
from tests.reconcile.plane_kit import quick
from tests.source.repo import commit, write
from tests.workers.test_reconciler import INTERVAL
from tests.workers.test_reconciler import Scene as ReconcilerScene

DAY = timedelta(days=1)
CERTIFICATE = ResourceKey(Kind.CERTIFICATE, "a", "web")
SECRET = ResourceKey(Kind.SECRET, "b", "site")


def auto(name: str) -> str:
    return route(name, f"{name}.test").replace("path: /", "path: /, tls: {certificate: auto}")


def given(name: str) -> str:
    way = route(name, f"{name}.test").replace("path: /", "path: /, tls: {certificate: site}")
    meta = f"metadata: {{tenant: {name}, name: site}}"
    return way + f"{HEADER}kind: Secret\n{meta}\nspec: {{type: tls, from: {{env: SITE}}}}\n"


class Scene(ReconcilerScene):
    """Tenant ``a`` has a certificate issued, ``b`` one of a secret that lives for 40 days."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.root = root
        plane = PLANE.replace(
            "defaultProvider: here", "defaultProvider: here, router: {type: memory}"
        )
        write(self.repo, {
            "ctrlplane.yaml": plane.encode(),
            "tenants/a.yaml": quick(tenant("a") + app("a") + auto("a")),
            "tenants/b.yaml": quick(tenant("b") + app("b") + given("b")),
        })  # fmt: skip
        commit(self.repo)
        issuer = LocalAuthority("theirs", root / "theirs")
        issued = issuer.issue(Request(("b.test",), 40 * DAY), self.clock.now())
        self.variables = {"SITE": issued.pem.reveal().decode()}
        self.router = MemoryRouter(RouterSettings("prod", "memory", str(root)))
        source = LatestSource(self.remote)
        follower = Follower(
            source, None, {"env": EnvBackend(self.variables)},
            lambda plane: self.desk(plane, is_renewing=False),
        )  # fmt: skip
        self.reconciler = Reconciler(
            source, follower, self.open_parts, self.clock, self.cancel, INTERVAL,
            self.told_of, chance=lambda: 0,
        )  # fmt: skip
        self.poller = Poller(source, lambda: None, chance=lambda: 0)
        self.renewer = self.make_renewer()

    def make_renewer(self) -> CertRenewer:
        return CertRenewer(
            lambda: self.reconciler.desired,
            lambda: {SECRET: SecretValue(self.variables["SITE"].encode())},
            self.desk,
            lambda plane: self.store,
            self.clock,
        )

    def desk(self, plane: ControlPlane, *, is_renewing: bool = True) -> CertificateDesk:
        return build_desk(plane, self.root / "state", None, self.clock, is_renewing=is_renewing)

    def open_parts(self, spec: ControlPlane, stop: threading.Event) -> PassParts:
        parts = super().open_parts(spec, stop)
        return replace(parts, router=self.router, certify=self.desk)

    def renew(self, after: timedelta = timedelta()) -> Ran:
        self.clock.shift += after
        return self.renewer.run()

    def shown(self) -> tuple[str, str]:
        """What the router was last told, and what was written down of the certificate."""
        record = self.store.load_state().resources[CERTIFICATE]
        return self.router.observe().generation, record.fingerprint

    def told(self) -> list[tuple[str, str, str]]:
        rows = self.store.read_events(
            EventFilter(type_prefix="certificate."), Page(100, is_oldest_first=True)
        )
        found = [row.event for row in rows]
        return [(x.type.partition(".")[2], x.address, x.data.get("threshold", "")) for x in found]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    [report] = made.run()
    assert report.outcome is PassOutcome.APPLIED, report.notes
    yield made
    made.close()


def test_a_certificate_is_renewed_in_time_and_shown_by_the_next_pass(scene: Scene) -> None:
    assert scene.told() == [("issued", "route/a/web", "")]
    before, replicas = scene.shown(), scene.replicas()
    assert scene.renew(59 * DAY).counts["renewed"] == 0
    [report] = scene.run(INTERVAL)
    assert report.outcome is PassOutcome.UNCHANGED and scene.shown() == before
    assert scene.renew(2 * DAY).counts["renewed"] == 1
    assert ("renewed", "route/a/web", "") in scene.told()
    [report] = scene.run(INTERVAL)
    assert report.outcome is PassOutcome.APPLIED and report.effects > 0
    after = scene.shown()
    assert before[0] != after[0] and before[1] != after[1]
    assert scene.replicas() == replicas, "nobody is restarted"
    [report] = scene.run(INTERVAL)
    assert report.outcome is PassOutcome.UNCHANGED
    assert scene.renew().counts["renewed"] == 0


def test_a_pass_does_not_renew_what_the_worker_will(scene: Scene) -> None:
    before = scene.shown()
    [report] = scene.run(61 * DAY)
    assert report.outcome is PassOutcome.UNCHANGED and scene.shown() == before
    # Unless nobody did, to the very end.
    [report] = scene.run(30 * DAY)
    assert report.outcome is PassOutcome.APPLIED and scene.shown()[1] != before[1]


def test_of_a_secret_s_certificate_each_threshold_is_told_of_once(scene: Scene) -> None:
    def expiring() -> list[str]:
        return [x[2] for x in scene.told() if x[0] == "expiring"]

    assert scene.renew(9 * DAY).counts["expiring"] == 1 and expiring() == []
    scene.renew(DAY + timedelta(hours=1))
    assert expiring() == ["30d"]
    scene.renew(DAY)
    scene.renewer = scene.make_renewer()  # After a restart as well.
    scene.renew(DAY)
    assert expiring() == ["30d"]
    for _ in range(40):
        scene.renew(DAY)
    assert expiring() == ["30d", "14d", "7d", "1d", "0s"]
    assert {x[1] for x in scene.told() if x[0] == "expiring"} == {"secret/b/site"}


def test_one_that_the_owner_renews_begins_anew(scene: Scene) -> None:
    scene.renew(35 * DAY)
    assert [x[2] for x in scene.told() if x[0] == "expiring"] == ["7d"]
    issuer = LocalAuthority("theirs", scene.root / "theirs")
    issued = issuer.issue(Request(("b.test",), 40 * DAY), scene.clock.now())
    scene.variables["SITE"] = issued.pem.reveal().decode()
    scene.renew(DAY)
    assert [x[2] for x in scene.told() if x[0] == "expiring"] == ["7d"]
    scene.renew(33 * DAY)
    assert [x[2] for x in scene.told() if x[0] == "expiring"] == ["7d", "7d"]


def test_what_cannot_be_renewed_is_an_error_and_told_of(scene: Scene) -> None:
    before = scene.shown()
    (scene.root / "state" / "certificates" / "ca.pem").write_text("nothing")
    ran = scene.renew(61 * DAY)
    assert "cannot be used" in ran.error
    assert ("expiring", "route/a/web", "30d") in scene.told()
    scene.run(INTERVAL)
    assert scene.shown() == before, "what is good stays"


def test_a_store_that_other_work_has_the_lease_of_is_no_hindrance(scene: Scene) -> None:
    assert scene.store.acquire("apply", "another", timedelta(days=99), scene.clock.now())
    assert scene.renew(61 * DAY).counts["renewed"] == 1


@pytest.mark.parametrize("kind", ["ec", "rsa", "ed25519"])
def test_the_end_is_read_without_the_library(kind: str) -> None:
    from cryptography import x509

    pem = make_pem(kind, life=timedelta(days=9000))
    ends = x509.load_pem_x509_certificates(pem)[0].not_valid_after_utc
    assert read_not_after(pem.decode()) == ends


@pytest.mark.parametrize(
    "text", ["", "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----"]
)
def test_what_has_no_end_is_said_so(text: str) -> None:
    with pytest.raises(ValueError, match="certificate"):
        read_not_after(text)


def test_every_cut_of_a_certificate_is_refused(tmp_path: Path) -> None:
    from base64 import b64decode, b64encode

    body = make_pem("ec").decode().split("-----")[2]
    whole = b64decode(body)
    for size in range(0, 200, 7):
        cut = b64encode(whole[:size]).decode()
        with pytest.raises(ValueError, match="certificate"):
            read_not_after(f"-----BEGIN CERTIFICATE-----\n{cut}\n-----END CERTIFICATE-----")
