"""certificates alone: an authority of your own, and a certificate it signs for a host."""

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ctrlplane_gitops.certificates.authority import LocalAuthority
from ctrlplane_gitops.certificates.base import Request

now = datetime.now(UTC)
with tempfile.TemporaryDirectory() as scratch:
    authority = LocalAuthority("prod", Path(scratch))
    issued = authority.issue(Request(("shop.acme.example",), timedelta(days=90)), now)
    print("until", issued.not_after.date(), issued.pem)
    print("trust", (Path(scratch) / "ca.crt").read_text().splitlines()[0])
    assert issued.not_after - now > timedelta(days=89)
