"""Following a source: the first pass reads everything, the next ones what a commit has changed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ctrlplane_gitops.catalog.library import NOBODY, Library, group_by_path
from ctrlplane_gitops.catalog.packing import TextPacking
from ctrlplane_gitops.diagnostics import has_errors
from ctrlplane_gitops.reconcile.built import Built
from ctrlplane_gitops.reconcile.certify import Certify
from ctrlplane_gitops.reconcile.gather import (
    ROOT_FILE,
    Part,
    Wanted,
    holds_specs,
    is_still_so,
    read_documents,
    resolve_wanted,
)
from ctrlplane_gitops.reconcile.reader import Reader
from ctrlplane_gitops.secrets.base import SecretBackend
from ctrlplane_gitops.source.base import Snapshot, Source
from ctrlplane_gitops.source.cache import ParseCache
from ctrlplane_gitops.source.latest import is_same
from ctrlplane_gitops.specs.document import Document
from ctrlplane_gitops.state.desired import ControlPlane
from ctrlplane_gitops.state.key import Kind, ResourceKey

_MANY = 1000


@dataclass(slots=True)
class _Known:
    """What the last look at the source gave. ``due`` are the tenants that changed since everything
    was last settled, with the instances that the changed files had or have; ``is_all_due``: all of
    them. ``whole`` is what all of it means, without the documents, None once a part of it has
    changed."""

    snapshot: Snapshot
    plane: ControlPlane
    library: Library
    frozen: frozenset[str]
    faulty: frozenset[str]
    built: Built
    is_all_due: bool = True
    due: dict[str, set[ResourceKey]] = field(default_factory=dict)
    whole: Wanted | None = None


class Follower:
    """Gathers from one source again and again. Not safe to use from several threads.

    ``follow`` gives a part wherever a part says the same as the whole; which instances drifted or
    whose secrets were rotated meanwhile is what ``gather`` is for, from time to time."""

    def __init__(
        self,
        source: Source,
        cache: ParseCache | None,
        backends: Mapping[str, SecretBackend],
        certify: Certify | None = None,
    ) -> None:
        self._source = source
        self._cache = cache
        self._backends = backends
        self._certify = certify
        self._known: _Known | None = None
        self._texts = TextPacking()

    def gather(self) -> Wanted:
        """Everything as it is now; SourceError when it cannot be had."""
        return self._gather(self._source.fetch())

    def follow(self) -> Wanted:
        """What changed since it was last settled, with all it must be held against: ``part`` says
        whose. Everything where that cannot be told apart: at first, when the control plane itself
        changed, while a file cannot be read or one of these tenants is frozen."""
        snapshot = self._source.fetch()
        known = self._known
        if known is None or known.is_all_due:
            return self._gather(snapshot)
        try:
            return self._narrow(known, snapshot) or self._gather(snapshot)
        finally:
            known.library.close()

    def widen(self) -> Wanted:
        """Everything as of the last look, for when a part turned out not to be enough."""
        return self.gather() if self._known is None else self._gather(self._known.snapshot)

    def revisit(self, instances: Collection[ResourceKey]) -> None:
        """Have the next ``follow`` give these tenants, whatever changed."""
        for key in instances:
            if self._known is not None:
                self._known.due.setdefault(key.tenant, set()).add(key)

    def settle(self, wanted: Wanted) -> None:
        """What was gathered is planned and done; until then it is given again."""
        if self._known is not None and wanted.snapshot is self._known.snapshot:
            self._known.is_all_due = False
            self._known.due.clear()

    def _gather(self, snapshot: Snapshot) -> Wanted:
        return self._gather_again(snapshot) or self._gather_anew(snapshot)

    def _gather_again(self, snapshot: Snapshot) -> Wanted | None:
        """What was gathered before, where it says and means the same by now: it need not be there
        twice, and making it anew is most of a pass that finds nothing to do."""
        known = self._known
        whole = None if known is None else known.whole
        if known is None or whole is None or not is_same(snapshot, whole.snapshot):
            return None
        if not is_still_so(whole, self._backends, self._certify):
            return None
        known.snapshot = snapshot
        return replace(whole, snapshot=snapshot, parsed=0)

    def _gather_anew(self, snapshot: Snapshot) -> Wanted:
        # What was known before must not be there while the next one is made.
        self._known = None
        read = read_documents(snapshot, self._cache)
        if self._cache is not None:
            # The library has all of it, in less space.
            self._cache.forget()
        wanted = resolve_wanted(read, self._backends, self._certify, keep=self._texts.pack)
        # Nobody asks for them again, and as values they are the largest that is there.
        whole = replace(wanted, documents=())
        if wanted.desired is not None and wanted.desired.is_complete:
            self._known = _Known(
                snapshot,
                wanted.desired.plane,
                Library(wanted.documents),
                frozenset(wanted.desired.frozen),
                frozenset(x.origin.path for x in wanted.diagnostics if x.is_error and x.origin),
                Built(wanted.desired.instances.values()),
                whole=whole,
            )
        return wanted if wanted.plane is None else whole

    def _narrow(self, known: _Known, snapshot: Snapshot) -> Wanted | None:
        changed = _changed(known.snapshot, snapshot)
        if snapshot.problems != known.snapshot.problems:
            return None
        if not known.faulty.isdisjoint(changed) or ROOT_FILE in changed:
            return None
        if len(changed) > _MANY and len(changed) * 4 > len(snapshot.entries):
            # It is hardly a part, and would be there beside the whole.
            return None
        reader = Reader(snapshot, None)
        entries, ignored = snapshot.entries, known.plane.ignore
        found = group_by_path(
            reader.read(
                [path for path in changed if path in entries and holds_specs(path, ignored)]
            )
        )
        if reader.diagnostics:
            return None
        if changed:
            known.whole = None
        is_contained = _take_in(known, changed, found)
        known.snapshot = snapshot
        tenants = known.library.reach(known.due)
        if not is_contained or NOBODY in tenants or tenants & known.frozen:
            return None
        documents = known.library.documents_of([NOBODY, *sorted(tenants)])
        instances = {item.key for item in documents if item.kind is Kind.INSTANCE}
        due = frozenset[ResourceKey]().union(*known.due.values())
        part = Part(tenants, due.union(instances), due)
        read = Wanted(snapshot, tuple(documents), known.plane, parsed=reader.parsed)
        built = known.built.of(tenants)
        wanted = resolve_wanted(read, self._backends, self._certify, built, self._texts.pack)
        # A mistake is said by the whole, which knows what else could have been meant.
        if has_errors(wanted.diagnostics) or wanted.desired is None:
            return None
        known.built.put(wanted.desired.instances.values())
        return replace(wanted, part=part)


def _changed(earlier: Snapshot, later: Snapshot) -> Collection[str]:
    """Paths that came, went or hold something else."""
    before, after = earlier.entries, later.entries
    if before is after:
        return ()
    if later.changes is not None and later.changes[0] == earlier.commit:
        return sorted(later.changes[1])
    found = [path for path, blob in after.items() if before.get(path) != blob]
    return [*found, *(path for path in before if path not in after)]


def _take_in(
    known: _Known, changed: Collection[str], found: Mapping[str, Sequence[Document]]
) -> bool:
    """Put what changed into the library, and note whom it concerns: by what was there before as
    well as by what is there now. False where it concerns others too: it may thaw a tenant that
    was frozen because of it, or take away what others depend on."""
    library = known.library
    known.built.discard_tenants(library.shippers_of(changed))
    before, thawing = _look_up(known, changed)
    had = _instances_in(library, changed)
    for path in changed:
        known.built.discard(library.read(path))
        library.put(path, found.get(path, ()))
        known.built.discard(library.read(path))
    after, thawing_now = _look_up(known, changed)
    has = _instances_in(library, changed)
    for tenant in before | after:
        known.due.setdefault(tenant, set())
    for key in had | has:
        known.due[key.tenant].add(key)
    return had <= has and not thawing and not thawing_now


def _look_up(known: _Known, changed: Iterable[str]) -> tuple[set[str], frozenset[str]]:
    """The tenants that the files concern, and which of them a frozen one's specs are held
    against."""
    tenants = known.library.tenants_of(changed)
    return tenants, known.library.reach(known.frozen) & tenants


def _instances_in(library: Library, paths: Iterable[str]) -> set[ResourceKey]:
    return {x.key for path in paths for x in library.read(path) if x.kind is Kind.INSTANCE}
