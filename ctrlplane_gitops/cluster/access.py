"""Where a Kubernetes API server is and who we are there: the operator's settings, never Git's.

A kubeconfig can name programs to run and files to read, so a repository has no say in which one is
read. ``CTRLPLANE_KUBECONFIG`` names it and ``CTRLPLANE_KUBE_CONTEXT`` the context in it, or the
same with ``_<ALIAS>`` for one provider; without any, the service account of the pod we run in.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ctrlplane_gitops.errors import UsageError
from ctrlplane_gitops.redact import SecretValue
from ctrlplane_gitops.value import field, struct

KUBECONFIG = "CTRLPLANE_KUBECONFIG"
CONTEXT = "CTRLPLANE_KUBE_CONTEXT"
ALLOW_EXEC = "CTRLPLANE_KUBE_EXEC"
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_API_VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")


@struct
class ExecPlugin:
    """A program that prints a credential. ``folder`` is the kubeconfig's, which a relative path is
    taken from."""

    command: str
    arguments: tuple[str, ...] = ()
    environ: Mapping[str, str] = field(default_factory=dict)
    api_version: str = _API_VERSIONS[0]
    folder: str = "."
    hint: str = ""


@struct
class Access:
    """``server`` is an https URL. ``ca`` is PEM, None: the system's own. ``certificate`` and
    ``key`` are PEM. ``token_file`` is read again and again, for what is in it is replaced.
    ``origin`` says in words where all this comes from."""

    server: str
    origin: str
    ca: bytes | None = None
    server_name: str | None = None
    is_insecure: bool = False
    token: SecretValue | None = None
    token_file: str | None = None
    basic: SecretValue | None = None
    certificate: bytes | None = None
    key: SecretValue | None = None
    plugin: ExecPlugin | None = None


def find_access(
    alias: str, environ: Mapping[str, str], service_account: Path = SERVICE_ACCOUNT
) -> Access:
    """The access of a provider or router of that name; UsageError says what is missing."""
    path = _setting(KUBECONFIG, alias, environ)
    if path:
        context = _setting(CONTEXT, alias, environ)
        access = read_kubeconfig(Path(path).expanduser(), context, alias)
        if access.plugin is not None and environ.get(ALLOW_EXEC) != "1":
            raise UsageError(
                f"{access.origin} gets its credential from the program "
                f"{access.plugin.command!r}, and programs are not run unasked",
                hint=f"set {ALLOW_EXEC}=1 if you trust that kubeconfig",
            )
        return access
    host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT")
    if host and (service_account / "token").is_file():
        name = f"[{host}]" if ":" in host else host
        return Access(
            f"https://{name}:{port or 443}",
            "the pod's service account",
            ca=_read(service_account / "ca.crt"),
            token_file=str(service_account / "token"),
        )
    raise UsageError(
        f"{alias!r} needs a Kubernetes API server, and none is set",
        hint=f"set {_name(KUBECONFIG, alias)} or {KUBECONFIG} to the path of a kubeconfig, "
        "or run in a pod that has a service account",
    )


def read_kubeconfig(path: Path, context: str | None, alias: str = "") -> Access:
    """The access by one context of a kubeconfig; UsageError naming file and field.

    Without ``context`` there must be one context only: what ``kubectl`` was last used with is no
    reason to change anything there."""
    config = _load(path)
    contexts = _named(config, "contexts", "context", path)
    if context is None:
        if len(contexts) != 1:
            known = ", ".join(sorted(contexts)) or "none"
            raise UsageError(
                f"{path} has {len(contexts)} contexts, and which one is meant is not said",
                hint=f"set {_name(CONTEXT, alias)} or {CONTEXT}; there are: {known}",
            )
        context = next(iter(contexts))
    origin = f"context {context!r} of {path}"
    chosen = _pick(contexts, context, f"what is asked of {path} is the context")
    clusters, users = (
        _named(config, "clusters", "cluster", path),
        _named(config, "users", "user", path),
    )
    cluster = _pick(clusters, chosen.get("cluster"), f"{origin} names the cluster")
    user: Mapping[str, Any] = {}
    if "user" in chosen:
        user = _pick(users, chosen["user"], f"{origin} names the user")
    server = str(cluster.get("server", ""))
    if not server.startswith("https://"):
        raise UsageError(f"{origin}: the server {server!r} is no https URL")
    if "auth-provider" in user:
        raise UsageError(
            f"{origin} uses an auth-provider, which Kubernetes itself has given up",
            hint="use a token, a client certificate or an exec plug-in",
        )
    key = _content(user, "client-key", path)
    token, token_file = user.get("token"), user.get("tokenFile")
    basic = f"{user['username']}:{user.get('password', '')}" if "username" in user else None
    return Access(
        server.rstrip("/"),
        origin,
        ca=_content(cluster, "certificate-authority", path),
        server_name=cluster.get("tls-server-name"),
        is_insecure=bool(cluster.get("insecure-skip-tls-verify", False)),
        token=SecretValue(str(token).encode()) if token and not token_file else None,
        token_file=str(path.parent / str(token_file)) if token_file else None,
        basic=SecretValue(basic.encode()) if basic else None,
        certificate=_content(user, "client-certificate", path),
        key=None if key is None else SecretValue(key),
        plugin=_plugin(user["exec"], origin, path) if user.get("exec") else None,
    )


def _plugin(raw: Any, origin: str, path: Path) -> ExecPlugin:
    command, version = str(raw.get("command", "")), str(raw.get("apiVersion", ""))
    if not command or version not in _API_VERSIONS:
        raise UsageError(
            f"{origin}: the exec plug-in {command!r} speaks {version!r}",
            hint=f"known: {', '.join(_API_VERSIONS)}",
        )
    if raw.get("interactiveMode") == "Always":
        raise UsageError(f"{origin}: the exec plug-in {command!r} wants a terminal to ask at")
    return ExecPlugin(
        command,
        tuple(str(item) for item in raw.get("args") or ()),
        {str(item["name"]): str(item["value"]) for item in raw.get("env") or ()},
        version,
        str(path.parent),
        str(raw.get("installHint") or "").strip(),
    )


def _name(setting: str, alias: str) -> str:
    """
    >>> _name("CTRLPLANE_KUBECONFIG", "eu-west")
    'CTRLPLANE_KUBECONFIG_EU_WEST'
    """
    return f"{setting}_{alias.upper().replace('-', '_')}" if alias else setting


def _setting(setting: str, alias: str, environ: Mapping[str, str]) -> str | None:
    return environ.get(_name(setting, alias)) or environ.get(setting) or None


def _load(path: Path) -> dict[str, Any]:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        config = YAML(typ="safe").load(_read(path))
    except (YAMLError, ValueError, RecursionError):
        # What YAML says of it may quote a line, and a line may be a key.
        raise UsageError(f"{path} is no kubeconfig: it is not YAML") from None
    if not isinstance(config, dict):
        raise UsageError(f"{path} is no kubeconfig")
    return config


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None


def _named(config: Mapping[str, Any], group: str, what: str, path: Path) -> dict[str, Any]:
    """The entries of one list of a kubeconfig, by name."""
    try:
        return {str(item["name"]): item.get(what) or {} for item in config.get(group) or ()}
    except (KeyError, TypeError, AttributeError):
        raise UsageError(f"{path} is no kubeconfig: {group} are not as they should be") from None


def _pick(entries: Mapping[str, Any], name: Any, text: str) -> Mapping[str, Any]:
    found = entries.get(str(name))
    if not isinstance(found, dict):
        known = ", ".join(sorted(entries)) or "none"
        raise UsageError(f"{text} {str(name)!r}, and there is none", hint=f"there are: {known}")
    return found


def _content(entry: Mapping[str, Any], name: str, path: Path) -> bytes | None:
    """What stands in ``<name>-data``, or in the file that ``<name>`` names."""
    data = entry.get(f"{name}-data")
    if data:
        try:
            return base64.b64decode(str(data), validate=True)
        except (binascii.Error, ValueError):
            raise UsageError(f"{path}: {name}-data is not base64") from None
    return _read(path.parent / str(entry[name])) if entry.get(name) else None
