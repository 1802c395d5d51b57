"""Names of environment variables: some are ours, and each has one source."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from ctrlplane_gitops.catalog.finding import fault
from ctrlplane_gitops.catalog.index import TenantSpecs
from ctrlplane_gitops.diagnostics import Diagnostic
from ctrlplane_gitops.specs.document import Document
from ctrlplane_gitops.state.template import SecretType

# An even number of dollars before it: "$$(NAME)" is an escaped dollar, not a reference.
_REFERENCE = re.compile(r"(?<!\$)(?:\$\$)*\$\(([^)]+)\)")


def is_reserved(name: str) -> bool:
    """Variables that providers set: the replica's ports and the owner labels.

    >>> [is_reserved(name) for name in ("PORT", "PORT_HTTP", "CTRLPLANE_PLANE", "PORTAL")]
    [True, True, True, False]
    """
    return name == "PORT" or name.startswith(("PORT_", "CTRLPLANE_"))


def check_env(document: Document) -> Iterator[Diagnostic]:
    """``spec.env`` of an instance or a deployment has no reserved name."""
    for name in document.spec["env"]:
        if is_reserved(name):
            yield _reserved(document, name, "env", name)


def check_secret_key(document: Document) -> Iterator[Diagnostic]:
    """The variable of a secret of type env has no reserved name."""
    name = document.spec.get("key")
    if document.spec["type"] == SecretType.ENV and name and is_reserved(name):
        yield _reserved(document, name, "key")


def check_secret_env(document: Document, specs: TenantSpecs) -> Iterator[Diagnostic]:
    """An instance's secrets against each other, against plain env, and against the command."""
    if not document.spec["secrets"]:
        return
    deployment = specs.serving.get(document.name)
    taken: dict[str, Document] = {}
    for plain in (document, deployment):
        if plain is not None:
            taken.update(dict.fromkeys(plain.spec["env"], plain))
    secrets: dict[str, Document] = {}
    for place, name in enumerate(document.spec["secrets"]):
        secret = specs.secrets.get(name)
        if secret is None or secret.spec["type"] != SecretType.ENV:
            continue
        key = secret.spec["key"]
        if key in taken:
            yield fault(
                document,
                "env-conflict",
                f"variable {key} comes from {secret.key} and from {taken[key].key}",
                "secrets",
                place,
                hint="a variable has one source: rename or remove one of them",
            )
        taken.setdefault(key, secret)
        secrets[key] = secret
    if deployment is not None and secrets:
        yield from _check_command(deployment, secrets)


def _check_command(document: Document, secrets: Mapping[str, Document]) -> Iterator[Diagnostic]:
    for place, part in enumerate(document.spec["command"]):
        for name in _REFERENCE.findall(part):
            if name in secrets:
                yield fault(
                    document,
                    "secret-in-command",
                    f"the command uses $({name}), a secret, and arguments can be seen by everybody",
                    "command",
                    place,
                    hint=f"read {name} from the environment inside the program",
                )


def _reserved(document: Document, name: str, *field: str | int) -> Diagnostic:
    return fault(
        document,
        "reserved-env",
        f"variable {name} is set by the control plane",
        *field,
        hint="PORT, PORT_* and CTRLPLANE_* are reserved: choose another name",
    )
