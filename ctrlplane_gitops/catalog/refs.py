"""References between documents of one tenant: each must lead somewhere."""

from __future__ import annotations

from collections.abc import Iterator

from ctrlplane_gitops.catalog.finding import caution, fault, suggest, suggest_among
from ctrlplane_gitops.catalog.index import Scope, TenantSpecs
from ctrlplane_gitops.diagnostics import Diagnostic
from ctrlplane_gitops.specs.document import Document
from ctrlplane_gitops.state.key import Kind, ResourceKey, tenant_key
from ctrlplane_gitops.state.template import SecretType

AUTO_CERTIFICATE = "auto"


def check_tenant(specs: TenantSpecs, scope: Scope) -> Iterator[Diagnostic]:
    """One error per document when no tenant of this name is declared."""
    if specs.document is not None or tenant_key(specs.name).address in scope.broken:
        return
    hint = (
        suggest_among(specs.name, scope.names)
        or f"add a document of kind Tenant named {specs.name!r}"
    )
    for document in specs.documents:
        yield fault(document, "unknown-tenant", f"there is no tenant {specs.name!r}", hint=hint)


def check_instance_refs(
    document: Document, specs: TenantSpecs, scope: Scope
) -> Iterator[Diagnostic]:
    """Provider, secrets, the ports of health checks and the sources of files."""
    spec = document.spec
    alias = spec.get("provider")
    if alias and alias not in scope.plane.providers:
        yield fault(
            document,
            "unknown-provider",
            f"there is no provider {alias!r}",
            "provider",
            hint=suggest(alias, scope.plane.providers),
        )
    for place, name in enumerate(spec["secrets"]):
        yield from _check_secret(document, specs, scope, place, name)
    ports = [item["name"] for item in spec["ports"]]
    for place, check in enumerate(spec["health"]):
        port = check.get("port")
        if port and port not in ports:
            yield fault(
                document,
                "unknown-port",
                f"health check {check['name']!r} names the port {port!r}, which {document.key}"
                " does not have",
                "health",
                place,
                "port",
                hint=suggest(port, ports) or "add it to spec.ports",
            )
        elif not port and not ports and check["type"] != "command":
            yield fault(
                document,
                "unknown-port",
                f"health check {check['name']!r} needs a port, and {document.key} has none",
                "health",
                place,
                hint="add it to spec.ports",
            )
    for place, file in enumerate(spec["files"]):
        source = file.get("source")
        if source is not None and source_path(source) not in scope.entries:
            yield _missing_file(document, scope, place, source)


def check_deployment_refs(
    document: Document, specs: TenantSpecs, scope: Scope
) -> Iterator[Diagnostic]:
    """The instance exists, and no other deployment names it."""
    name = document.spec["instance"]
    first = specs.serving.get(name)
    if first is not None and first is not document:
        yield fault(
            document,
            "second-deployment",
            f"instance {name!r} already has the deployment {first.name!r} at {first.origin}",
            "instance",
            hint="an instance has one deployment: remove one, or add an instance",
        )
    yield from _check_instance_name(document, specs, scope)


def check_route_refs(document: Document, specs: TenantSpecs, scope: Scope) -> Iterator[Diagnostic]:
    """The instance, its port and the certificate exist."""
    spec = document.spec
    yield from _check_instance_name(document, specs, scope)
    instance = specs.instances.get(spec["instance"])
    if instance is not None:
        port, ports = spec.get("port"), [item["name"] for item in instance.spec["ports"]]
        if port and port not in ports:
            yield fault(
                document,
                "unknown-port",
                f"{instance.key} has no port {port!r}",
                "port",
                hint=suggest(port, ports) or f"add it to spec.ports of {instance.key}",
            )
        elif not ports:
            yield fault(
                document,
                "unknown-port",
                f"{instance.key} has no port to route to",
                "instance",
                hint=f"add one to spec.ports of {instance.key}",
            )
    name = (spec.get("tls") or {}).get("certificate", AUTO_CERTIFICATE)
    if name == AUTO_CERTIFICATE:
        return
    secret = specs.secrets.get(name)
    if secret is None:
        if _is_known_broken(document, scope, Kind.SECRET, name):
            return
        yield fault(
            document,
            "unknown-secret",
            f"tenant {document.tenant!r} has no secret {name!r}",
            "tls",
            "certificate",
            hint=suggest(name, specs.secrets) or "add it, or use 'auto'",
        )
    elif secret.spec["type"] != SecretType.TLS:
        yield fault(
            document,
            "wrong-secret-type",
            f"{secret.key} is of type {secret.spec['type']}, a certificate is of type tls",
            "tls",
            "certificate",
        )


def source_path(source: str) -> str:
    """The path of a file in the snapshot, counted from the root of the repository.

    >>> source_path("./files/nginx.conf")
    'files/nginx.conf'
    """
    return source.removeprefix("./")


def _check_secret(
    document: Document, specs: TenantSpecs, scope: Scope, place: int, name: str
) -> Iterator[Diagnostic]:
    secret = specs.secrets.get(name)
    if secret is None:
        if not _is_known_broken(document, scope, Kind.SECRET, name):
            yield fault(
                document,
                "unknown-secret",
                f"tenant {document.tenant!r} has no secret {name!r}",
                "secrets",
                place,
                hint=suggest(name, specs.secrets) or "add a document of kind Secret",
            )
    elif secret.spec["type"] == SecretType.TLS:
        yield fault(
            document,
            "wrong-secret-type",
            f"{secret.key} is a certificate, which no replica reads",
            "secrets",
            place,
            hint="name it in spec.tls.certificate of a route, or give the secret type file",
        )


def _check_instance_name(
    document: Document, specs: TenantSpecs, scope: Scope
) -> Iterator[Diagnostic]:
    name = document.spec["instance"]
    if name in specs.instances or _is_known_broken(document, scope, Kind.INSTANCE, name):
        return
    yield fault(
        document,
        "unknown-instance",
        f"tenant {document.tenant!r} has no instance {name!r}",
        "instance",
        hint=suggest(name, specs.instances) or "add a document of kind Instance",
    )


def _is_known_broken(document: Document, scope: Scope, kind: Kind, name: str) -> bool:
    """Whether it is there but did not pass: its own error is enough."""
    return bool(scope.broken) and (ResourceKey(kind, document.tenant, name).address in scope.broken)


def _missing_file(document: Document, scope: Scope, place: int, source: str) -> Diagnostic:
    """Paths count from the root; who counted from the document's folder is told so."""
    path = source_path(source)
    beside = f"{document.path.rpartition('/')[0]}/{path}"
    if beside in scope.entries:
        hint = f"paths count from the root of the repository: did you mean {beside!r}?"
    else:
        hint = suggest_among(path, scope.paths())
    return fault(
        document,
        "missing-file",
        f"there is no file {source!r} in the repository",
        "files",
        place,
        "source",
        hint=hint or "paths count from the root of the repository",
    )


def warn_idle(specs: TenantSpecs) -> Iterator[Diagnostic]:
    """Instances that no deployment names."""
    for name, document in specs.instances.items():
        if name not in specs.serving:
            yield caution(
                document,
                "no-deployment",
                f"{document.key} has no deployment, so it runs nothing",
                hint=f"add a document of kind Deployment with `instance: {name}`",
            )
