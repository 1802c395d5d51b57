"""The composition root: every part is built here and handed on as an argument."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctrlplane_gitops import __version__
from ctrlplane_gitops.clock import Clock
from ctrlplane_gitops.config import Settings, plane_dir, store_location
from ctrlplane_gitops.execute.pool import Pool
from ctrlplane_gitops.providers.base import Provider, ProviderSettings
from ctrlplane_gitops.providers.registry import build_provider
from ctrlplane_gitops.secrets.base import SecretBackend
from ctrlplane_gitops.secrets.registry import build_backends
from ctrlplane_gitops.source.base import Source
from ctrlplane_gitops.source.cache import ParseCache
from ctrlplane_gitops.state.desired import ControlPlane
from ctrlplane_gitops.store.base import Store
from ctrlplane_gitops.store.registry import open_store
from ctrlplane_gitops.value import field, struct

if TYPE_CHECKING:
    from ctrlplane_gitops.certificates.desk import CertificateDesk
    from ctrlplane_gitops.network.router import Router
    from ctrlplane_gitops.reconcile.certify import Certify
    from ctrlplane_gitops.reconcile.run import PassParts
    from ctrlplane_gitops.state.key import ResourceKey
    from ctrlplane_gitops.state.recorded import Event

# An action holds its thread for as long as it takes, a graceful stop for its whole grace, so there
# are many of them; what makes an engine work is bounded by the starts (measured on two cores: more
# than six at a time are not started any faster).
_ACTIONS = 32
_LOOKS = 8
_PROBES = 16
# Of their own: a source of figures that hangs must not hold up a health check.
_ANALYSES = 4
_STARTS = 6
_STOPS = 64
# They wait for an engine elsewhere, which may take a second for each answer.
_READS = 64


@struct
class Where:
    """Where the specs are. ``repo`` is a path or URL; with ``ref`` None the files of the directory
    are read as they are."""

    repo: str
    ref: str | None = None


@struct
class App:
    """Everything that does not depend on which control plane it is. ``kept`` is what providers
    keep, by alias."""

    settings: Settings
    environ: Mapping[str, str]
    clock: Clock
    source: Source
    cache: ParseCache
    backends: Mapping[str, SecretBackend]
    actions: Pool
    looks: Pool
    probes: Pool
    analyses: Pool
    starts: Pool
    stops: Pool
    reads: Pool
    cancel: threading.Event
    on_effect: Callable[[str], None]
    kept: dict[str, dict[str, Any]] = field(default_factory=dict)


@struct
class Plane:
    """One control plane with its store, its providers by alias and its router."""

    spec: ControlPlane
    store: Store
    providers: Mapping[str, Provider]
    router: Router | None = None


@contextmanager
def open_app(
    settings: Settings,
    environ: Mapping[str, str],
    clock: Clock,
    where: Where,
    cancel: threading.Event,
    on_effect: Callable[[str], None],
) -> Iterator[App]:
    """The app for the block; its threads end with it."""
    with ExitStack() as stack:
        sizes = {
            "action": _ACTIONS,
            "look": _LOOKS,
            "probe": _PROBES,
            "analysis": _ANALYSES,
            "start": _STARTS,
            "stop": _STOPS,
            "read": _READS,
        }
        pools = {name: Pool(size, name) for name, size in sizes.items()}
        for pool in pools.values():
            stack.callback(pool.close)
        yield App(
            settings,
            environ,
            clock,
            _build_source(settings, environ, where),
            _build_cache(settings, where),
            build_backends(environ, settings.secrets_dir),
            pools["action"],
            pools["look"],
            pools["probe"],
            pools["analysis"],
            pools["start"],
            pools["stop"],
            pools["read"],
            cancel,
            on_effect,
        )


@contextmanager
def open_plane(app: App, spec: ControlPlane, *, is_read_only: bool) -> Iterator[Plane]:
    """The control plane's parts for the block. Read only, nothing is created."""
    store = open_plane_store(app, spec, is_read_only=is_read_only)
    with (
        closing(store),
        open_providers(app, spec) as providers,
        open_router(app, spec) as router,
    ):
        yield Plane(spec, store, providers, router)


def open_plane_store(app: App, spec: ControlPlane, *, is_read_only: bool) -> Store:
    """The control plane's store alone."""
    location = store_location(app.settings, spec.name, spec.store)
    return open_store(location, is_read_only=is_read_only)


@contextmanager
def open_providers(app: App, spec: ControlPlane) -> Iterator[Mapping[str, Provider]]:
    """The control plane's providers alone, for the block."""
    with ExitStack() as stack:
        providers: dict[str, Provider] = {}
        for alias, config in sorted(spec.providers.items()):
            provider = build_provider(
                ProviderSettings(
                    plane=spec.name,
                    config=config,
                    state_dir=str(plane_dir(app.settings, spec.name)),
                    start_all=app.starts.run_all,
                    stop_all=app.stops.run_all,
                    read_all=app.reads.run_all,
                    on_effect=app.on_effect,
                    environ=app.environ,
                    kept=app.kept.setdefault(alias, {}),
                )
            )
            stack.callback(provider.close)
            providers[alias] = provider
        yield providers


@contextmanager
def open_router(app: App, spec: ControlPlane) -> Iterator[Router | None]:
    """The control plane's router, where it has one, for the block."""
    if spec.router is None:
        yield None
        return
    from ctrlplane_gitops.network.registry import build_router
    from ctrlplane_gitops.network.router import RouterSettings

    settings = RouterSettings(
        plane=spec.name,
        type=spec.router.type,
        state_dir=str(plane_dir(app.settings, spec.name)),
        options=spec.router.options,
        on_effect=app.on_effect,
        environ=app.environ,
    )
    with closing(build_router(settings)) as router:
        yield router


def build_pass(
    app: App,
    plane: Plane,
    cancel: threading.Event,
    on_event: Callable[[Event], None],
    on_wait: Callable[[ResourceKey, str], None],
) -> PassParts:
    """What a pass over the control plane works with, which ``cancel`` stops."""
    # Looking needs nothing that acts.
    from ctrlplane_gitops.reconcile.run import PassParts

    return PassParts(
        store=plane.store,
        providers=plane.providers,
        router=plane.router,
        analyses=app.analyses,
        clock=app.clock,
        actions=app.actions,
        looks=app.looks,
        probes=app.probes,
        cancel=cancel,
        actor=app.settings.actor,
        on_event=on_event,
        on_wait=on_wait,
        certify=certifier(app),
    )


def certifier(app: App, *, is_renewing: bool = True) -> Certify:
    """Gives the desk that certificates of a control plane's routes come from. ``is_renewing``:
    what nears its end is issued anew by whoever looks."""

    def certify(plane: ControlPlane) -> CertificateDesk:
        from ctrlplane_gitops.certificates.registry import build_desk

        ref = plane.certificates.authority
        read_given = None if ref is None else partial(app.backends[ref.backend].resolve, ref)
        state_dir = plane_dir(app.settings, plane.name)
        return build_desk(plane, state_dir, read_given, app.clock, is_renewing=is_renewing)

    return certify


def _build_source(settings: Settings, environ: Mapping[str, str], where: Where) -> Source:
    if where.ref is None and "://" not in where.repo and not _is_scp(where.repo):
        from ctrlplane_gitops.source.directory import DirectorySource

        return DirectorySource(Path(where.repo), environ=environ)
    from ctrlplane_gitops.source.git import GitSource

    is_file_allowed = environ.get("CTRLPLANE_ALLOW_FILE_URLS") == "1"
    mirrors = settings.cache_home / "mirrors"
    return GitSource(
        where.repo, where.ref or "HEAD", mirrors, allow_file=is_file_allowed, environ=environ
    )


def _is_scp(location: str) -> bool:
    """``git@host:path``, unless a file of that name exists."""
    head, colon, _ = location.partition(":")
    return bool(colon) and "@" in head and "/" not in head and not Path(location).exists()


def _build_cache(settings: Settings, where: Where) -> ParseCache:
    name = where.repo if ":" in where.repo else str(Path(where.repo).absolute())
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return ParseCache(settings.cache_home / "parse" / f"{digest}.json", __version__)
