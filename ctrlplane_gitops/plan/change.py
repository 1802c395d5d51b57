"""What a plan is made of: rows people read, work the executor does, and what stopped it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from ctrlplane_gitops.diagnostics import Diagnostic, Origin
from ctrlplane_gitops.state.desired import DesiredInstance, IssuedCertificate
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.observed import Gap
from ctrlplane_gitops.state.recorded import RecordBatch, RecordedResource
from ctrlplane_gitops.state.template import Release
from ctrlplane_gitops.value import field, struct

if TYPE_CHECKING:
    from ctrlplane_gitops.rollout.preview import RolloutPreview


class Absent(Enum):
    """The type of ``ABSENT``: the field is not there at all (null is a value)."""

    ABSENT = "absent"

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT = Absent.ABSENT


class ChangeAction(StrEnum):
    """``adopt`` writes down what is already there; ``keep`` rows only appear when blocked."""

    CREATE = "create"
    UPDATE = "update"
    REPLACE = "replace"
    DELETE = "delete"
    ADOPT = "adopt"
    KEEP = "keep"


@struct
class FieldChange:
    """One attribute: ``("env", "LOG_LEVEL")``, before and after as JSON values or ``ABSENT``.
    A secret's value digest is masked on both sides."""

    path: tuple[str, ...]
    before: Any
    after: Any


@struct
class Blocked:
    """Why something is not done, and the way out. ``code`` is one of ``bad-release``, ``gap``,
    ``frozen``, ``protected``, ``prune-limit``, ``prune-off``, ``empty-desired``, ``incomplete``,
    ``identity-lost``, ``mass-recreate``, ``provider-changed``, ``quota``, ``router-changed``,
    ``router-gap``, ``backoff``, ``observed``, ``quarantined``, ``adopted``."""

    code: str
    reason: str
    hint: str


@struct
class Change:
    """One row. ``hidden`` counts the attributes that stay as they are. ``fingerprint`` changes
    when anything the row was decided from changes (specs, record, replicas, target release).
    ``before_json`` and ``after_json`` are the whole specs, as they are recorded: whoever shows
    them masks what is sensitive. ``strategy`` is set together with ``rollout``."""

    key: ResourceKey
    action: ChangeAction
    reason: str
    fields: tuple[FieldChange, ...] = ()
    origin: Origin | None = None
    rollout: RolloutPreview | None = None
    blocked: Blocked | None = None
    fingerprint: str = ""
    hidden: int = 0
    strategy: str = ""
    before_json: str | None = None
    after_json: str | None = None


@struct
class Drift:
    """Observed moved away from desired without a commit. ``text`` is ``replicas 3 -> 2, ...``."""

    key: ResourceKey
    fields: tuple[FieldChange, ...]
    text: str
    is_corrected: bool


@struct
class Autoscaled:
    """How many replicas an instance has because an autoscaler has decided so; ``by`` is who that
    was, "" while nobody has."""

    key: ResourceKey
    replicas: int
    by: str


@struct
class Work:
    """What is executed for one instance; at most one per instance.

    ``desired`` None: remove the instance. ``release`` is the release to run, None when nothing
    should run (removal, or no deployment names the instance); ``is_new_release`` says that it is
    not recorded yet. ``active`` is the release number to return to. ``update_resources``: live
    limits differ. ``sweep`` are the providers on which everything of the instance must be removed
    once the release runs; never the release's own provider (what is left of other releases there
    is the rollout's to retire). ``records`` and ``removed`` are what to write down about the rows
    behind this work once it is done. ``is_routed``: requests may reach it through the router.
    """

    instance: ResourceKey
    provider: str
    desired: DesiredInstance | None
    release: Release | None
    is_new_release: bool
    active: int | None
    update_resources: bool
    sweep: tuple[str, ...]
    reason: str
    records: tuple[RecordedResource, ...] = ()
    removed: tuple[ResourceKey, ...] = ()
    is_volumes: bool = False
    is_routed: bool = False


@struct
class PlanHeader:
    """Where the plan comes from. ``is_dirty`` None: not known (not a work tree)."""

    plane: str
    commit: str
    ref: str
    is_dirty: bool | None
    read_count: int
    is_destroy: bool = False


@struct
class Policy:
    """What the caller allows. ``max_delete`` is a count that replaces ``spec.prune.maxDelete``.
    ``holds`` are instances that nothing is done about now, ``drift_holds`` those whose drift is
    shown and left."""

    max_delete: int | None = None
    is_empty_allowed: bool = False
    is_retry_failed: bool = False
    is_recreate_allowed: bool = False
    targets: tuple[str, ...] = ()
    is_destroy: bool = False
    is_prune_enabled: bool = True
    is_keep_going: bool = False
    holds: Mapping[ResourceKey, Blocked] = field(default_factory=dict)
    drift_holds: Mapping[ResourceKey, Blocked] = field(default_factory=dict)


class Counts(NamedTuple):
    add: int
    change: int
    destroy: int


@struct
class Plan:
    """Everything a pass would do.

    ``changes`` are sorted by address. ``refusals`` stop the whole apply (exit 5). ``records`` is
    written first and needs no work: rows of kinds that are only recorded, adopted instances and
    their releases. ``dependencies`` has an entry per work: the instances whose works come first.
    ``gaps`` are the providers that did not answer. ``unrouted`` are the routes that are no longer
    to be served; ``starts_router``: ours served something and does not run; ``stops_router``:
    it runs and nothing is routed any more. ``certificates`` are
    records of what routes show, secrets and issued ones, to be written once the router has them;
    ``issues`` have to be issued before anything is done. ``autoscaled`` is shown and left alone.
    """

    header: PlanHeader
    changes: tuple[Change, ...] = ()
    works: tuple[Work, ...] = ()
    drift: tuple[Drift, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()
    refusals: tuple[Blocked, ...] = ()
    adopted: int = 0
    unchanged: int = 0
    records: RecordBatch = field(default_factory=RecordBatch)
    dependencies: Mapping[ResourceKey, tuple[ResourceKey, ...]] = field(default_factory=dict)
    turns: Mapping[ResourceKey, tuple[ResourceKey, ...]] = field(default_factory=dict)
    gaps: tuple[Gap, ...] = ()
    unrouted: tuple[ResourceKey, ...] = ()
    starts_router: bool = False
    stops_router: bool = False
    certificates: tuple[RecordedResource, ...] = ()
    issues: tuple[IssuedCertificate, ...] = ()
    autoscaled: tuple[Autoscaled, ...] = ()

    @property
    def is_empty(self) -> bool:
        """True when nothing would change; adopting and blocked rows do not count."""
        is_router = self.starts_router or self.stops_router
        return not self.works and not any(self.counts) and not is_router

    @property
    def blocked(self) -> tuple[Change, ...]:
        return tuple(item for item in self.changes if item.blocked)

    @property
    def counts(self) -> Counts:
        """Rows to add, change and destroy; a replacement is one of each but the second."""
        actions = [item.action for item in self.changes if not item.blocked]
        replaced = actions.count(ChangeAction.REPLACE)
        return Counts(
            actions.count(ChangeAction.CREATE) + replaced,
            actions.count(ChangeAction.UPDATE),
            actions.count(ChangeAction.DELETE) + replaced,
        )
