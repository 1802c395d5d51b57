"""``adopt``: what runs already as documents, without the secrets in it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from ctrlplane_gitops.errors import ConflictError
from ctrlplane_gitops.providers.adopting import Foreign
from ctrlplane_gitops.specs.write import Written
from ctrlplane_gitops.state.desired import Resources
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.value import struct

_NAMES = re.compile(
    r"pass|pwd|secret|token|credential|private|auth|cookie|salt|session|signature|dsn|cert"
    r"|(^|_)(api|access|encryption|master|signing|license)?_?key($|_)",
    re.IGNORECASE,
)
_OPAQUE = re.compile(r"(?=.*\d)(?=.*[A-Za-z])[A-Za-z0-9+/=_-]{20,}")
_WORD = re.compile(r"[^a-z0-9]+")


@struct
class Adopted:
    """``variables`` are the values that were left out, by the variable of our own environment
    that the documents refer to; ``sources`` say of each such variable where its value is."""

    documents: tuple[Written, ...]
    variables: Mapping[str, str]
    sources: Mapping[str, str]


def describe_adopted(
    foreign: Foreign,
    key: ResourceKey,
    provider: str,
    *,
    is_default: bool,
    has_tenant: bool,
    secrets: Collection[str] = (),
) -> Adopted:
    """The documents of an instance that runs already. ``provider`` is left out where it is the
    default; ``secrets`` are the names the tenant has already. ConflictError where that cannot be
    said in documents."""
    obstacles = (*foreign.obstacles, *_find_secret_arguments(foreign))
    if obstacles:
        raise ConflictError(
            f"{foreign.name} cannot be adopted: {'; '.join(obstacles)}",
            hint="describe it as a new instance, and remove the old one when that runs",
        )
    hidden = {name: value for name, value in foreign.env.items() if is_secret(name, value)}
    kept = f"in the environment of {foreign.name}"
    places = {**dict.fromkeys(hidden, kept), **foreign.references}
    names = _name_secrets(key, places, secrets)
    prefix = f"{key.tenant}_{key.name}_".replace("-", "_").upper()
    documents = [*_tenant(key, has_tenant=has_tenant)]
    documents.append(
        _instance(foreign, key, "" if is_default else provider, sorted(names.values()))
    )
    documents.append(_deployment(foreign, key, places))
    documents += [
        _secret(key, names[item], item, f"{prefix}{item}", places[item]) for item in sorted(places)
    ]
    return Adopted(
        tuple(documents),
        {f"{prefix}{name}": value for name, value in hidden.items()},
        {f"{prefix}{name}": where for name, where in places.items()},
    )


def is_secret(name: str, value: str) -> bool:
    """Whether a variable looks as if it must not stand in Git. In doubt it must not.

    >>> is_secret("LOG_LEVEL", "info"), is_secret("API_KEY", "x"), is_secret("MONKEY", "x")
    (False, True, False)
    >>> is_secret("DATABASE_URL", "postgres://app:hunter2@db/app"), is_secret("HOST", "http://db")
    (True, False)
    """
    if not value:
        return False
    return bool(_NAMES.search(name)) or _is_secret_value(value)


def _is_secret_value(value: str) -> bool:
    try:
        has_password = urlsplit(value).password is not None
    except ValueError:
        has_password = "@" in value
    return has_password or "-----BEGIN" in value or bool(_OPAQUE.fullmatch(value))


def _find_secret_arguments(foreign: Foreign) -> Iterator[str]:
    for place, part in enumerate(foreign.command, start=1):
        flag, equals, value = part.partition("=")
        is_named = bool(equals) and is_secret(flag, value)
        before = foreign.command[place - 2] if place > 1 else ""
        is_next = before.startswith("-") and "=" not in before and bool(_NAMES.search(before))
        if is_named or _is_secret_value(part) or is_next:
            yield f"argument {place} of its command looks like a secret, and arguments are public"


def _name_secrets(
    key: ResourceKey, hidden: Mapping[str, str], taken: Collection[str]
) -> dict[str, str]:
    """The name of each variable's secret, none of them taken."""
    names: dict[str, str] = {}
    for variable in sorted(hidden):
        name = _WORD.sub("-", variable.lower()).strip("-")[:50] or "secret"
        for candidate in (name, f"{key.name}-{name}"[:63]):
            if candidate not in taken and candidate not in names.values():
                names[variable] = candidate
                break
        else:
            raise ConflictError(f"{key} has a secret of the name {name} already")
    return names


def _tenant(key: ResourceKey, *, has_tenant: bool) -> Iterator[Written]:
    if not has_tenant:
        yield Written("Tenant", {"name": key.tenant}, {"displayName": key.tenant})


def _instance(
    foreign: Foreign, key: ResourceKey, provider: str, secrets: Collection[str]
) -> Written:
    limits = _limits(foreign.resources)
    spec: dict[str, Any] = {
        **({"provider": provider} if provider else {}),
        "replicas": _replicas(foreign),
        **({"resources": limits} if limits else {}),
    }
    if foreign.ports:
        spec["ports"] = [{"name": item.name, "port": item.port} for item in foreign.ports]
    if secrets:
        spec["secrets"] = list(secrets)
    if foreign.health:
        spec["health"] = [dict(item) for item in foreign.health]
    comments = (f"Adopted: {foreign.name} ({foreign.id[:12]}).", *map(_sentence, foreign.notes))
    return Written("Instance", {"tenant": key.tenant, "name": key.name}, spec, comments)


def _replicas(foreign: Foreign) -> int | dict[str, Any]:
    if not foreign.is_autoscaled:
        return foreign.replicas
    return {"owner": "autoscaler", "initial": max(1, foreign.replicas)}


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _deployment(foreign: Foreign, key: ResourceKey, hidden: Mapping[str, str]) -> Written:
    env = {name: value for name, value in foreign.env.items() if name not in hidden}
    spec: dict[str, Any] = {"instance": key.name, "image": foreign.image}
    if foreign.command:
        spec["command"] = list(foreign.command)
    if env:
        spec["env"] = dict(sorted(env.items()))
    return Written("Deployment", {"tenant": key.tenant, "name": key.name}, spec)


def _secret(key: ResourceKey, name: str, variable: str, source: str, place: str) -> Written:
    comments = (
        f"The value is not here: {source} is set where the control plane runs.",
        f"It was {place}.",
    )
    spec = {"type": "env", "key": variable, "from": {"env": source}}
    return Written("Secret", {"tenant": key.tenant, "name": name}, spec, comments)


def _limits(resources: Resources) -> dict[str, str]:
    found = {}
    if resources.cpu_millicores is not None:
        found["cpu"] = f"{resources.cpu_millicores}m"
    if resources.memory_bytes is not None:
        found["memory"] = _size(resources.memory_bytes)
    return found


def _size(count: int) -> str:
    """
    >>> _size(256 << 20), _size(100_000_000)
    ('256Mi', '100000000')
    """
    for unit, shift in (("Gi", 30), ("Mi", 20), ("Ki", 10)):
        if count % (1 << shift) == 0:
            return f"{count >> shift}{unit}"
    return str(count)
