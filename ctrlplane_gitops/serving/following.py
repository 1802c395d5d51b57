"""The repository that is followed: who tells of its commits, who is told what became of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta

from ctrlplane_gitops.api.metrics import Metrics
from ctrlplane_gitops.app import App
from ctrlplane_gitops.errors import UsageError
from ctrlplane_gitops.forge.base import ForgeSettings
from ctrlplane_gitops.forge.client import Forge
from ctrlplane_gitops.forge.settings import load_forge
from ctrlplane_gitops.http.clone_url import parse_clone_url
from ctrlplane_gitops.reconcile.report import PassReport
from ctrlplane_gitops.serving.output import Output
from ctrlplane_gitops.source.base import Snapshot
from ctrlplane_gitops.source.hook.served import Served
from ctrlplane_gitops.source.latest import LatestSource
from ctrlplane_gitops.source.webhook import load_secrets
from ctrlplane_gitops.state.delivery import DeliveryRecord
from ctrlplane_gitops.state.desired import ControlPlane
from ctrlplane_gitops.store.base import Store
from ctrlplane_gitops.value import struct
from ctrlplane_gitops.workers.ledger import Ledger
from ctrlplane_gitops.workers.receiver import Receiver
from ctrlplane_gitops.workers.reporter import Reporter
from ctrlplane_gitops.workers.worker import Worker

FORGE = "forge"
_INTERVAL, _LIMIT = timedelta(hours=1), timedelta(minutes=2)


@struct
class Followed:
    """``location`` is the path or URL that deliveries are about, ``secrets`` those of each sender
    of webhooks. ``forge`` is told what became of commits, None: nobody is. ``public_url`` is where
    people look at us, or ""."""

    location: str
    secrets: Mapping[str, tuple[str, ...]]
    forge: ForgeSettings | None = None
    public_url: str = ""


def load_followed(environ: Mapping[str, str], place: str, public_url: str = "") -> Followed:
    """What the environment says of the repository at ``place``. UsageError, which names the
    variable, for what protects nothing, cannot work or would show a token."""
    location = environ.get("CTRLPLANE_FORGE_URL") or place
    if public_url and parse_clone_url(public_url).scheme not in ("http", "https"):
        raise UsageError(f"--public-url: {public_url!r} is not a URL of http or https")
    return Followed(location, load_secrets(environ), load_forge(environ, location), public_url)


class Following:
    """``source`` is the one that is looked at, ``read_plane`` what Git says of the control plane
    (None before it is known). ``look`` and ``wake`` let somebody look, or let a worker run."""

    def __init__(
        self,
        app: App,
        output: Output,
        metrics: Metrics,
        followed: Followed,
        source: LatestSource,
        read_plane: Callable[[], ControlPlane | None],
        look: Callable[[], None],
        wake: Callable[[str], None],
    ) -> None:
        self._metrics, self._followed, self._source = metrics, followed, source
        self._read_plane, self._look = read_plane, look
        self.ledger = Ledger(app.clock, self._take_delivery)
        self.receiver = Receiver(
            followed.secrets, self.ledger, self._find_served, app.clock, look, output.log
        )
        self._reporter: Reporter | None = None
        if followed.forge is not None:
            self._reporter = Reporter(
                Forge(followed.forge).tell,
                self._read_context,
                followed.public_url,
                app.clock,
                lambda: wake(FORGE),
            )

    def build_workers(self) -> list[Worker]:
        if self._reporter is None:
            return []
        return [Worker(FORGE, _INTERVAL, self._reporter.run, _LIMIT)]

    def take_store(self, store: Store) -> None:
        """The store that deliveries are written into from now on."""
        if self.ledger.open(store.deliveries):
            self._look()

    def begin_pass(self, snapshot: Snapshot) -> None:
        if self._reporter is not None and _is_pushed(snapshot):
            self._reporter.begin(snapshot.commit)

    def end_pass(self, report: PassReport, tried: Snapshot | None) -> None:
        if tried is None:
            return
        self.ledger.end_pass(report, tried)
        if self._reporter is not None and _is_pushed(tried):
            self._reporter.end(report)

    def settle(self, snapshot: Snapshot, tried: Snapshot) -> None:
        """The source says by now what was tried last, and no pass is to come."""
        self.ledger.settle(snapshot, tried)
        if self._reporter is not None and _is_pushed(snapshot):
            self._reporter.settle(snapshot.commit)

    def close(self) -> None:
        """Write down what was not written yet."""
        self.ledger.flush(is_all=True)

    def _take_delivery(self, record: DeliveryRecord) -> None:
        self._metrics.count_delivery(record.sender, record.outcome.value)

    def _find_served(self) -> Served | None:
        snapshot = self._source.snapshot
        return None if snapshot is None else Served(self._followed.location, snapshot.ref)

    def _read_context(self) -> str:
        """One repository may be followed by several control planes."""
        plane = self._read_plane()
        return "ctrlplane-gitops" if plane is None else f"ctrlplane-gitops/{plane.name}"


def _is_pushed(snapshot: Snapshot) -> bool:
    """What is in a directory may have been pushed to nobody."""
    return bool(snapshot.ref and snapshot.commit)
