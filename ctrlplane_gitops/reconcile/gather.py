"""What Git says: fetch, parse what is new, resolve secrets, build the desired state."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from ctrlplane_gitops.catalog.control_plane import ROUTER_TYPES, parse_control_plane
from ctrlplane_gitops.diagnostics import Diagnostic, error, sort_diagnostics
from ctrlplane_gitops.errors import SecretError, UsageError
from ctrlplane_gitops.reconcile.certify import (
    NOT_RENEWED,
    Certify,
    explain_unready,
    look_at_certificates,
    of_served,
)
from ctrlplane_gitops.reconcile.reader import Reader
from ctrlplane_gitops.redact import SecretValue
from ctrlplane_gitops.secrets.base import SecretBackend
from ctrlplane_gitops.secrets.registry import resolve_all
from ctrlplane_gitops.source.base import Snapshot, Source
from ctrlplane_gitops.source.cache import ParseCache
from ctrlplane_gitops.specs.document import Document
from ctrlplane_gitops.specs.validate import is_spec
from ctrlplane_gitops.state.desired import ControlPlane, DesiredInstance, DesiredState
from ctrlplane_gitops.state.key import Kind, ResourceKey
from ctrlplane_gitops.state.template import SecretType
from ctrlplane_gitops.state.text import Text
from ctrlplane_gitops.value import replace, struct

ROOT_FILE = "ctrlplane.yaml"
# What the catalog says of a repo without a control plane.
_NO_PLANE = "no-control-plane"


@struct
class Part:
    """What a narrow pass is about: some tenants, with the instances they have or had. ``due`` are
    those that must be looked at, whether or not anything is to be done about them."""

    tenants: frozenset[str]
    instances: frozenset[ResourceKey]
    due: frozenset[ResourceKey] = frozenset()


@struct
class Wanted:
    """One snapshot and what it means.

    ``plane`` is None when no document says what the control plane is; ``desired`` as well when it
    cannot be trusted. ``diagnostics`` are all of them, located and sorted. ``secrets`` are the
    values. ``parsed`` counts the files that were not in the cache. ``part`` is None when this is
    everything that Git says."""

    snapshot: Snapshot
    documents: tuple[Document, ...]
    plane: ControlPlane | None
    desired: DesiredState | None = None
    diagnostics: tuple[Diagnostic, ...] = ()
    secrets: Mapping[ResourceKey, SecretValue] | None = None
    parsed: int = 0
    part: Part | None = None


def is_empty(wanted: Wanted) -> bool:
    """Whether there is nothing at all: an emptied repo and a wrong folder look alike, so nobody
    should act on it."""
    is_all = wanted.part is None and wanted.plane is None and not wanted.documents
    return is_all and not any(item.code != _NO_PLANE for item in wanted.diagnostics)


def gather_documents(
    source: Source,
    cache: ParseCache | None,
    on_plane: Callable[[ControlPlane], None] = lambda plane: None,
) -> Wanted:
    """Fetch and parse; no secret is looked at. ``on_plane`` is told what the control plane seems
    to be before the rest is read. SourceError when the snapshot cannot be had."""
    return read_documents(source.fetch(), cache, on_plane)


def read_documents(
    snapshot: Snapshot,
    cache: ParseCache | None,
    on_plane: Callable[[ControlPlane], None] = lambda plane: None,
) -> Wanted:
    """Every document of the snapshot."""
    reader = Reader(snapshot, cache)
    root = [ROOT_FILE] if ROOT_FILE in snapshot.entries else []
    likely = _seem_ignored(reader.skim(ROOT_FILE) if root else [])
    paths = _spec_paths(snapshot, likely)
    with reader.helped(paths):
        found = reader.read(root)
        plane = parse_control_plane(found)
        ignored = plane.ignore if plane else ()
        if ignored != likely:
            paths = _spec_paths(snapshot, ignored)
        if plane is not None:
            on_plane(plane)
        found = [*found, *reader.read(paths)]
    if cache is not None:
        cache.save(reader.fresh, [snapshot.entries[path] for path in [*root, *paths]])
    problems = [
        item
        for item in snapshot.problems
        if item.origin is None or not _is_ignored(item.origin.path, ignored)
    ]
    return Wanted(
        snapshot,
        tuple(found),
        parse_control_plane(found),
        diagnostics=sort_diagnostics([*problems, *reader.diagnostics]),
        parsed=reader.parsed,
    )


def resolve_wanted(
    wanted: Wanted,
    backends: Mapping[str, SecretBackend] | None,
    certify: Certify | None = None,
    built: Mapping[ResourceKey, DesiredInstance] | None = None,
    keep: Callable[[str], Text] = str,
) -> Wanted:
    """Add the desired state. With ``backends`` None no value is looked up (``validate`` on a
    machine that has none): every secret then counts as present and unchanged. ``certify`` None:
    so does every certificate that is issued. ``built`` are instances whose documents and files are
    as they were; ``keep`` is how what is compared by its hash alone is kept."""
    # Loaded only now: a plan has asked the providers by this time, and they take longer.
    from ctrlplane_gitops.catalog.build import build_catalog, explain_freezes
    from ctrlplane_gitops.catalog.secret import secret_refs_of

    refs = secret_refs_of(wanted.documents)
    plane = wanted.plane.name if wanted.plane else ""
    values: dict[ResourceKey, SecretValue] = {}
    digests = dict.fromkeys(refs, "")
    found = _check_router(wanted)
    if backends is not None:
        values, failures = resolve_all(refs.values(), backends)
        digests = {key: value.digest(f"{plane}/{key}") for key, value in values.items()}
        found += _explain_unresolved(wanted.documents, failures)
        found += _check_certificates(wanted.documents, values)
    found += _warn_unheard(wanted.documents)
    looked = look_at_certificates(wanted, certify)
    found += explain_unready(wanted, looked)
    values.update(looked.values if looked else {})
    earlier = [*wanted.diagnostics, *found]
    desired, more = build_catalog(
        wanted.documents, earlier, wanted.snapshot.entries, digests, built, keep
    )
    located = _locate([*found, *more], wanted.snapshot)
    diagnostics = sort_diagnostics([*wanted.diagnostics, *located])
    if desired is not None and desired.frozen:
        # The catalog knows only where the documents begin.
        frozen = {**desired.frozen, **explain_freezes(diagnostics)}
        desired = replace(desired, frozen=dict(sorted(frozen.items())))
    if desired is not None and looked is not None:
        desired = replace(desired, certificates=of_served(looked, desired))
    return replace(
        wanted,
        desired=desired,
        diagnostics=diagnostics,
        secrets=values,
    )


def is_still_so(
    wanted: Wanted, backends: Mapping[str, SecretBackend], certify: Certify | None
) -> bool:
    """Whether the same documents would mean the same: no secret was rotated meanwhile and no
    certificate issued. Where something was wrong, only resolving it again can tell."""
    desired = wanted.desired
    if desired is None or desired.frozen or any(map(_may_pass, wanted.diagnostics)):
        return False
    values, failures = resolve_all(desired.secret_refs.values(), backends)
    hosts = {key: item.hosts for key, item in desired.certificates.items()}
    if hosts and certify is not None:
        looked = certify(desired.plane).look(hosts)
        if looked.error is not None or dict(looked.found) != desired.certificates:
            return False
        values.update(looked.values)
    return not failures and values == wanted.secrets


def _may_pass(item: Diagnostic) -> bool:
    """Whether it may be over although the documents are the same."""
    return item.is_error or item.code == NOT_RENEWED


def _check_router(wanted: Wanted) -> list[Diagnostic]:
    """What is wrong with the options of ``spec.router``, as the router itself says it."""
    router = wanted.plane.router if wanted.plane else None
    if wanted.plane is None or router is None or router.type not in ROUTER_TYPES:
        return []
    from ctrlplane_gitops.network.registry import build_router
    from ctrlplane_gitops.network.router import RouterSettings

    try:
        build_router(RouterSettings(wanted.plane.name, router.type, "", router.options)).close()
    except UsageError as problem:
        document = next(it for it in wanted.documents if it.kind is Kind.CONTROL_PLANE)
        return [
            error(
                "router-options",
                problem.message,
                origin=document.origin,
                hint=problem.hint or "",
                address=document.key.address,
                field=("spec", "router"),
            )
        ]
    return []


def _explain_unresolved(
    documents: Iterable[Document], failures: Mapping[ResourceKey, SecretError]
) -> list[Diagnostic]:
    if not failures:
        return []
    origins = {item.key: item.origin for item in documents if item.kind is Kind.SECRET}
    return [
        error(
            "unresolved-secret",
            failure.message,
            origin=origins[key],
            hint=failure.hint or "",
            address=key.address,
            tenant=key.tenant,
            field=("spec", "from"),
        )
        for key, failure in failures.items()
    ]


def _check_certificates(
    documents: Iterable[Document], values: Mapping[ResourceKey, SecretValue]
) -> list[Diagnostic]:
    """One that no router can show is a mistake of its tenant, found before any router is told."""
    shown = [
        (item, values[item.key])
        for item in documents
        if item.kind is Kind.SECRET and item.spec["type"] == SecretType.TLS and item.key in values
    ]
    if not shown:
        return []
    from ctrlplane_gitops.network.certificate import parse_pem

    found = []
    for document, value in shown:
        try:
            parse_pem(value)
        except ValueError as problem:
            found.append(
                error(
                    "bad-certificate",
                    f"the value of {document.key} is no certificate: {problem}",
                    origin=document.origin,
                    hint="it is the chain, leaf first, and its key, both in PEM",
                    address=document.key.address,
                    tenant=document.tenant,
                    field=("spec", "from"),
                )
            )
    return found


def _warn_unheard(documents: Iterable[Document]) -> list[Diagnostic]:
    planes = [item for item in documents if item.kind is Kind.CONTROL_PLANE]
    if not any(item.spec.get("notifications") for item in planes):
        return []
    from ctrlplane_gitops.catalog.notification import warn_unheard
    from ctrlplane_gitops.events.event import EventType

    types = [item.value for item in EventType]
    return [found for item in planes for found in warn_unheard(item, types)]


def _locate(diagnostics: Sequence[Diagnostic], snapshot: Snapshot) -> tuple[Diagnostic, ...]:
    """Lines are looked up only now that something is wrong: reading them costs a parse."""
    if not diagnostics:
        return ()
    from ctrlplane_gitops.specs.locate import locate

    def read(path: str) -> bytes:
        blob = snapshot.entries[path]
        return snapshot.read([blob])[blob]

    return locate(diagnostics, read)


def _seem_ignored(values: Iterable[Any]) -> tuple[str, ...]:
    """What a control plane that nobody has checked yet seems to ignore."""
    specs = (value.get("spec") for value in values if isinstance(value, dict))
    globs = (spec.get("ignore") for spec in specs if isinstance(spec, dict))
    lists = (found for found in globs if isinstance(found, list))
    return tuple(glob for found in lists for glob in found if isinstance(glob, str))


def _spec_paths(snapshot: Snapshot, ignored: Iterable[str]) -> list[str]:
    """Every file that is read for documents, but for the control plane's own."""
    return [path for path in snapshot.entries if path != ROOT_FILE and holds_specs(path, ignored)]


def _is_ignored(path: str, globs: Iterable[str]) -> bool:
    return any(fnmatchcase(path, glob) or path.startswith(f"{glob.rstrip('/')}/") for glob in globs)


def holds_specs(path: str, ignored: Iterable[str]) -> bool:
    """Whether a file is read for documents; ``ignored`` is the control plane's ``ignore``."""
    return is_spec(path) and not _is_ignored(path, ignored)
