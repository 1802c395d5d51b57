"""What every issuer must do; subclass it in the tests of a new one."""

from __future__ import annotations

import ssl
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from ctrlplane_gitops.certificates.base import Issuer, Request
from ctrlplane_gitops.clock import SystemClock
from ctrlplane_gitops.file import write_file
from ctrlplane_gitops.redact import SecretValue

HOSTS = ("shop.example", "www.shop.example")
DAYS = timedelta(days=1)


def shake_hands(server: SecretValue, anchor: str, host: str, folder: Path) -> dict[str, object]:
    """A handshake in memory, verified against ``anchor``; what the client knows of the server.
    ``ssl.SSLError`` when the client does not believe it."""
    path = folder / "server.pem"
    write_file(path, server.reveal())
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(path)
    path.unlink()
    asking = ssl.create_default_context(cadata=anchor)
    asking.verify_flags |= ssl.VERIFY_X509_STRICT
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = asking.wrap_bio(down, up, server_hostname=host)
    other = serving.wrap_bio(up, down, server_side=True)
    for _ in range(4):
        for side in (client, other):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    found = client.getpeercert()
    assert found is not None
    return dict(found)


class IssuerConformance:
    """The claims, and the hooks they are made through."""

    def make_issuer(self, root: Path) -> Issuer:
        """The same one each time for the same directory."""
        raise AssertionError("a subclass says how its issuer is made")

    def anchor_of(self, issuer: Issuer, root: Path) -> str:
        """What a client has to trust, in PEM, once something was issued."""
        raise AssertionError("a subclass says whom to trust")

    def now(self) -> datetime:
        return SystemClock().now()

    @pytest.fixture
    def issuer(self, tmp_path: Path) -> Issuer:
        return self.make_issuer(tmp_path)

    def test_what_is_issued_is_believed_for_each_of_its_hosts_and_no_other(
        self, issuer: Issuer, tmp_path: Path
    ) -> None:
        issued = issuer.issue(Request(HOSTS, 90 * DAYS), self.now())
        anchor = self.anchor_of(issuer, tmp_path)
        for host in HOSTS:
            assert shake_hands(issued.pem, anchor, host, tmp_path)
        with pytest.raises(ssl.SSLCertVerificationError):
            shake_hands(issued.pem, anchor, "other.example", tmp_path)

    def test_it_says_truly_how_long_it_lives(self, issuer: Issuer, tmp_path: Path) -> None:
        now = self.now()
        issued = issuer.issue(Request(HOSTS, 90 * DAYS), now)
        assert issued.not_before <= now
        assert now + 89 * DAYS < issued.not_after <= now + 90 * DAYS or issued.is_capped
        seen = shake_hands(issued.pem, self.anchor_of(issuer, tmp_path), HOSTS[0], tmp_path)
        end = ssl.cert_time_to_seconds(str(seen["notAfter"]))
        assert abs(issued.not_after.timestamp() - end) < 1

    def test_each_has_a_key_of_its_own(self, issuer: Issuer) -> None:
        pems = [issuer.issue(Request(HOSTS, DAYS), self.now()).pem for _ in range(2)]
        keys = [pem.reveal().partition(b"PRIVATE KEY")[2] for pem in pems]
        assert keys[0] != keys[1]

    def test_it_is_the_same_one_after_a_restart(self, issuer: Issuer, tmp_path: Path) -> None:
        issuer.issue(Request(HOSTS, DAYS), self.now())
        again = self.make_issuer(tmp_path)
        assert again.identify() == issuer.identify() != ""
        again.check(self.now())
        issued = again.issue(Request(HOSTS, DAYS), self.now())
        assert shake_hands(issued.pem, self.anchor_of(issuer, tmp_path), HOSTS[0], tmp_path)

    def test_a_name_that_is_as_long_as_names_may_be(self, issuer: Issuer, tmp_path: Path) -> None:
        host = ".".join(["a" * 63] * 3 + ["example"])
        issued = issuer.issue(Request((host,), DAYS), self.now())
        assert shake_hands(issued.pem, self.anchor_of(issuer, tmp_path), host, tmp_path)
