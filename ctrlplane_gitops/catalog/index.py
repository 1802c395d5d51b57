"""All documents by tenant, kind and name: one pass, then every reference is a look-up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from ctrlplane_gitops.catalog.control_plane import KNOWN_TYPES
from ctrlplane_gitops.catalog.finding import fault
from ctrlplane_gitops.diagnostics import Diagnostic
from ctrlplane_gitops.specs.document import Document
from ctrlplane_gitops.state.desired import ControlPlane, DesiredInstance
from ctrlplane_gitops.state.key import Kind, ResourceKey
from ctrlplane_gitops.state.text import Text
from ctrlplane_gitops.value import field, record, struct


@record
class TenantSpecs:
    """What the specs say of one tenant, each kind by name. ``document`` is None when documents
    name a tenant that none declares. ``serving`` is the deployment of an instance, by the
    instance's name."""

    name: str
    document: Document | None = None
    secrets: dict[str, Document] = field(default_factory=dict)
    instances: dict[str, Document] = field(default_factory=dict)
    deployments: dict[str, Document] = field(default_factory=dict)
    routes: dict[str, Document] = field(default_factory=dict)
    serving: dict[str, Document] = field(default_factory=dict)

    @property
    def documents(self) -> tuple[Document, ...]:
        own = () if self.document is None else (self.document,)
        return (
            *own,
            *self.secrets.values(),
            *self.instances.values(),
            *self.deployments.values(),
            *self.routes.values(),
        )


@record
class Index:
    """``planes`` are the control plane documents; ``duplicates`` the errors found on the way."""

    tenants: dict[str, TenantSpecs] = field(default_factory=dict)
    planes: list[Document] = field(default_factory=list)
    duplicates: list[Diagnostic] = field(default_factory=list)

    def tenant(self, name: str) -> TenantSpecs:
        found = self.tenants.get(name)
        if found is None:
            found = self.tenants[name] = TenantSpecs(name)
        return found


@struct
class Scope:
    """What checks look at besides one tenant. ``entries`` maps the snapshot's paths to blob ids.
    ``names`` are the declared tenants, sorted; ``paths`` gives those of the snapshot, sorted once.
    ``broken`` are addresses of documents that did not pass, ``suspects`` tenants with an earlier
    error: what they lack may stand in a document that could not be read. So may anything when
    ``is_complete`` is False. ``built`` are instances that were built before from the same documents
    and files of the same tenant; the values of their secrets may have been others. ``keep`` is how
    texts are kept."""

    plane: ControlPlane
    tenants: Mapping[str, TenantSpecs]
    entries: Mapping[str, str]
    digests: Mapping[ResourceKey, str]
    names: Sequence[str] = ()
    paths: Callable[[], Sequence[str]] = tuple
    broken: frozenset[str] = frozenset()
    suspects: frozenset[str] = frozenset()
    is_complete: bool = True
    built: Mapping[ResourceKey, DesiredInstance] = field(default_factory=dict)
    keep: Callable[[str], Text] = str

    def provider_of(self, instance: Document) -> str:
        """The alias of the provider the instance runs on; it may not be configured."""
        return instance.spec.get("provider") or self.plane.default_provider

    def type_of(self, instance: Document) -> str | None:
        """The type of that provider, None when it is not configured or not known."""
        config = self.plane.providers.get(self.provider_of(instance))
        return config.type if config is not None and config.type in KNOWN_TYPES else None


def index_documents(documents: Iterable[Document]) -> Index:
    """Every document in its place, in order of path and place in the file, so that nothing
    depends on the order they were read in. Of two with one address the first is kept."""
    index = Index()
    for document in sorted(documents, key=lambda item: (item.path, item.index)):
        kind = document.kind
        if kind is Kind.CONTROL_PLANE:
            index.planes.append(document)
            continue
        specs = index.tenant(document.tenant)
        if kind is Kind.TENANT:
            if specs.document is None:
                specs.document = document
            else:
                index.duplicates.append(_duplicate(document, specs.document))
            continue
        first = _shelf(specs, kind).setdefault(document.name, document)
        if first is not document:
            index.duplicates.append(_duplicate(document, first))
    for specs in index.tenants.values():
        for deployment in specs.deployments.values():
            specs.serving.setdefault(deployment.spec["instance"], deployment)
    return index


def _shelf(specs: TenantSpecs, kind: Kind) -> dict[str, Document]:
    if kind is Kind.INSTANCE:
        return specs.instances
    if kind is Kind.DEPLOYMENT:
        return specs.deployments
    return specs.secrets if kind is Kind.SECRET else specs.routes


def _duplicate(second: Document, first: Document) -> Diagnostic:
    return fault(
        second,
        "duplicate-address",
        f"{second.key} stands twice: at {first.origin} and at {second.origin}",
        hint="rename or remove one of them",
    )
