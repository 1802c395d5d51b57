"""What containers are made of, whoever runs them: environment, paths, owner labels. Pure."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from ctrlplane_gitops.errors import ProviderError
from ctrlplane_gitops.providers.base import LABEL_INSTANCE, LABEL_PLANE, LABEL_TENANT
from ctrlplane_gitops.state.expand import expand
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.template import ReleaseTemplate, SecretType
from ctrlplane_gitops.value import replace

if TYPE_CHECKING:
    from ctrlplane_gitops.state.action import Material

# Where relative paths are, and the working directory of whatever has some.
WORKING_DIR = "/app"


def owner_labels(plane: str, tenant: str, instance: str | None = None) -> dict[str, str]:
    """What every object of a tenant, or of one of its instances, carries.

    >>> owner_labels("prod", "acme")
    {'ctrlplane.dev/plane': 'prod', 'ctrlplane.dev/tenant': 'acme'}
    """
    labels = {LABEL_PLANE: plane, LABEL_TENANT: tenant}
    return labels if instance is None else labels | {LABEL_INSTANCE: instance}


def build_environment(template: ReleaseTemplate) -> dict[str, str]:
    """The environment without secrets: the ports, then the template's own.

    >>> from ctrlplane_gitops.state.template import Port
    >>> template = ReleaseTemplate("d", ports=(Port("http-api", 80),), env={"A": "b"})
    >>> build_environment(template)
    {'PORT': '80', 'PORT_HTTP_API': '80', 'A': 'b'}
    """
    environment = {}
    if template.ports:
        environment["PORT"] = str(template.ports[0].port)
    for port in template.ports:
        environment[f"PORT_{port.name.upper().replace('-', '_')}"] = str(port.port)
    return environment | dict(template.env)


def secret_environment(template: ReleaseTemplate, material: Material) -> dict[str, str]:
    """Variables that carry secrets; ProviderError for a value no variable can hold."""
    found = {}
    for mount in template.secrets:
        if mount.type is SecretType.ENV:
            try:
                text = material.secrets[mount.secret].reveal().decode()
            except UnicodeDecodeError:
                raise ProviderError(f"{mount.secret} is not text: mount it as a file") from None
            if "\0" in text:
                raise ProviderError(f"{mount.secret} holds a NUL byte: mount it as a file")
            found[mount.target] = text
    return found


def expand_command(template: ReleaseTemplate) -> list[str]:
    """The arguments. A secret is never put into one: arguments are seen by everybody."""
    environment = build_environment(template)
    return [expand(part, environment) for part in template.command]


def place_paths(template: ReleaseTemplate) -> ReleaseTemplate:
    """The template with every path absolute: a relative one is below ``WORKING_DIR``.

    >>> from ctrlplane_gitops.state.template import FileMount
    >>> place_paths(ReleaseTemplate("d", files=(FileMount("a.py", ""),))).files[0].path
    '/app/a.py'
    """
    if working_dir_of(template) is None:
        return template
    return replace(
        template,
        volumes=tuple(replace(item, path=_place(item.path)) for item in template.volumes),
        files=tuple(replace(item, path=_place(item.path)) for item in template.files),
        secrets=tuple(
            replace(item, target=_place(item.target)) if _is_file(item.type) else item
            for item in template.secrets
        ),
    )


def working_dir_of(template: ReleaseTemplate) -> str | None:
    """``WORKING_DIR`` where the template has a relative path, so that its command finds the same
    paths as a process would; else None, the image's own."""
    paths = [item.path for item in template.volumes]
    paths.extend(item.path for item in template.files)
    paths.extend(item.target for item in template.secrets if _is_file(item.type))
    return WORKING_DIR if any(not path.startswith("/") for path in paths) else None


def check_paths(
    template: ReleaseTemplate, instance: ResourceKey, *, is_nesting_allowed: bool = False
) -> None:
    """ProviderError for paths that are no place of their own. Those of ``place_paths``."""
    targets = [("volume", volume.path) for volume in template.volumes]
    targets += [("file", file.path) for file in template.files]
    targets += [("secret", item.target) for item in template.secrets if _is_file(item.type)]
    seen: dict[PurePosixPath, str] = {}
    for what, text in targets:
        path = PurePosixPath(text)
        if ".." in path.parts or path in (PurePosixPath("/"), PurePosixPath(WORKING_DIR)):
            raise ProviderError(
                f"{instance}: {what} path {text!r} is no place of its own",
                hint="give a path below a folder, without '..'",
            )
        if path in seen:
            raise ProviderError(f"{instance}: {what} path {text!r} is also a {seen[path]} path")
        for volume in template.volumes:
            # put_archive would write below the mount, where nobody sees it.
            is_lost = what == "file" and not is_nesting_allowed
            if is_lost and PurePosixPath(volume.path) in path.parents:
                raise ProviderError(
                    f"{instance}: file path {text!r} is inside volume {volume.name!r}"
                )
        seen[path] = what


def check_arguments(template: ReleaseTemplate, instance: ResourceKey) -> None:
    """ProviderError for a command that would show a secret."""
    known = build_environment(template)
    for mount in template.secrets:
        if mount.type is SecretType.ENV and mount.target not in known:
            marked = {mount.target: ""}
            if any(expand(part, marked) != expand(part, {}) for part in template.command):
                raise ProviderError(
                    f"{instance}: the command uses $({mount.target}), a secret, and arguments "
                    "are public",
                    hint=f"read {mount.target} from the environment inside the program",
                )


def _place(path: str) -> str:
    return path if path.startswith("/") else f"{WORKING_DIR}/{path}"


def _is_file(kind: SecretType) -> bool:
    return kind is SecretType.FILE
