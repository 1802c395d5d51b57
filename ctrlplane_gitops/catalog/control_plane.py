"""``ctrlplane.yaml``: what is needed before anything else, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from ctrlplane_gitops.catalog.finding import fault, suggest
from ctrlplane_gitops.catalog.notification import parse_notifications
from ctrlplane_gitops.diagnostics import Diagnostic, Origin, error
from ctrlplane_gitops.specs.document import Document
from ctrlplane_gitops.state.access import AccessToken, Role
from ctrlplane_gitops.state.desired import (
    CertificatePolicy,
    ControlPlane,
    ProviderConfig,
    PrunePolicy,
    Retention,
    RouterConfig,
    SecretRef,
)
from ctrlplane_gitops.state.key import Kind, ResourceKey
from ctrlplane_gitops.units import parse_duration, parse_percent

KNOWN_TYPES = ("aws", "docker", "kubernetes", "memory", "process")
ROUTER_TYPES = ("gateway", "haproxy", "memory", "traefik")
_UNSUPPORTED = frozenset({"aws"})
_ROOT_FILE = "ctrlplane.yaml"


def parse_control_plane(documents: Iterable[Document]) -> ControlPlane | None:
    """The control plane when exactly one document says it, else None. Whether its providers can
    be used is checked by ``build_catalog``: its name and store are known even so."""
    found = [item for item in documents if item.kind is Kind.CONTROL_PLANE]
    if len(found) != 1:
        return None
    spec = found[0].spec
    prune = spec.get("prune") or {}
    default = PrunePolicy()
    percent = prune.get("maxDelete")
    return ControlPlane(
        found[0].name,
        {
            alias: ProviderConfig(
                alias,
                config["type"],
                {name: value for name, value in config.items() if name != "type"},
            )
            for alias, config in _providers(spec).items()
        },
        spec.get("defaultProvider", ""),
        PrunePolicy(
            default.max_delete_percent if percent is None else parse_percent(percent),
            bool(prune.get("volumes", default.is_volumes)),
        ),
        spec.get("store"),
        tuple(spec.get("ignore") or ()),
        _parse_router(spec.get("router")),
        Retention(**{name: parse_duration(x) for name, x in (spec.get("retention") or {}).items()}),
        _parse_certificates(found[0].name, spec.get("certificates") or {}),
        spec.get("drift") == "observe",
        tuple(_parse_token(item) for item in (spec.get("access") or {}).get("tokens", ())),
        parse_notifications(spec, found[0].name),
    )


def _parse_router(router: Mapping[str, Any] | None) -> RouterConfig | None:
    if router is None:
        return None
    options = {name: value for name, value in router.items() if name != "type"}
    return RouterConfig(router["type"], options)


def _parse_certificates(plane: str, spec: Mapping[str, Any]) -> CertificatePolicy:
    default, source = CertificatePolicy(), spec.get("from")
    authority = None
    if source:
        [(backend, locator)] = source.items()
        authority = SecretRef(ResourceKey(Kind.CONTROL_PLANE, "", plane), backend, locator)
    lengths = [
        parse_duration(spec[name]) if name in spec else usual
        for name, usual in (("duration", default.duration), ("renewBefore", default.renew_before))
    ]
    return CertificatePolicy(spec.get("issuer", default.issuer), authority, *lengths)


def _parse_token(token: Mapping[str, Any]) -> AccessToken:
    tenants, expires = token.get("tenants"), token.get("expires")
    return AccessToken(
        token["name"],
        token["sha256"],
        Role(token["role"]),
        None if tenants is None else frozenset(tenants),
        None if expires is None else datetime.fromisoformat(expires),
    )


def check_control_planes(
    found: Sequence[Document], diagnostics: Iterable[Diagnostic]
) -> Iterator[Diagnostic]:
    """Everything that keeps the control plane from being trusted. ``found`` is in order of place;
    ``diagnostics`` are the earlier ones: a control plane that did not pass is not missing."""
    if not found and not any(_may_be_plane(item) for item in diagnostics):
        yield error(
            "no-control-plane",
            "no document says what the control plane is",
            origin=Origin(_ROOT_FILE),
            hint=f"add a document of kind ControlPlane in {_ROOT_FILE} at the root",
        )
    for other in found[1:]:
        yield fault(
            other,
            "duplicate-control-plane",
            f"a second control plane; the first is {found[0].name!r} at {found[0].origin}",
            hint="a repository describes one control plane: remove one of them",
        )
    for document in found:
        yield from _check_providers(document)
        yield from _check_router(document)


def is_plane_error(item: Diagnostic) -> bool:
    """Whether this is an error of the control plane's own document, so nothing can be trusted."""
    return item.is_error and item.address.split("/", 1)[0] == Kind.CONTROL_PLANE


def _may_be_plane(item: Diagnostic) -> bool:
    """Whether the control plane may be what did not pass here, so that it is not missing."""
    if is_plane_error(item):
        return True
    is_nobodys = item.is_error and not item.tenant and not item.address
    return is_nobodys and item.origin is not None and item.origin.path == _ROOT_FILE


def _check_providers(document: Document) -> Iterator[Diagnostic]:
    providers = _providers(document.spec)
    for alias, config in providers.items():
        kind = config["type"]
        if kind in _UNSUPPORTED:
            yield fault(
                document,
                "unsupported-provider",
                f"provider type {kind} is not available in this version",
                "providers",
                alias,
                "type",
                hint="use docker, kubernetes or process",
            )
        elif kind not in KNOWN_TYPES:
            yield fault(
                document,
                "unknown-provider-type",
                f"provider {alias!r} has the unknown type {kind!r}",
                "providers",
                alias,
                "type",
                hint=suggest(kind, KNOWN_TYPES),
            )
    default = document.spec.get("defaultProvider", "")
    if default not in providers:
        yield fault(
            document,
            "unknown-provider",
            f"defaultProvider {default!r} is not among the providers",
            "defaultProvider",
            hint=suggest(default, providers) or "add it to spec.providers",
        )


def _check_router(document: Document) -> Iterator[Diagnostic]:
    kind = (document.spec.get("router") or {}).get("type")
    if kind is not None and kind not in ROUTER_TYPES:
        yield fault(
            document,
            "unknown-router-type",
            f"the router has the unknown type {kind!r}",
            "router",
            "type",
            hint=suggest(kind, ROUTER_TYPES),
        )


def _providers(spec: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    return spec.get("providers") or {}
