"""From an image's name to exactly one image: resolve it once, run that everywhere."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import docker
from docker.auth import resolve_repository_name
from docker.errors import APIError, ImageNotFound
from docker.utils import parse_repository_tag

from ctrlplane_gitops.errors import ImageError, ProviderError
from ctrlplane_gitops.providers.docker.failure import engine_text
from ctrlplane_gitops.providers.effects import Effects
from ctrlplane_gitops.state.action import Material
from ctrlplane_gitops.state.template import ReleaseTemplate, SecretType
from ctrlplane_gitops.value import struct

_HUB = {"index.docker.io", "registry-1.docker.io", "docker.io"}
_ID = "sha256:"
# A registry that cannot be reached now, or has had enough of us for now.
_PASSING = re.compile(
    r"connection refused|connection reset|no such host|i/o timeout|TLS handshake timeout|"
    r"Client\.Timeout|deadline exceeded|network is unreachable|no route to host|: EOF|"
    r"toomanyrequests|50[0234] |server misbehaving|temporary failure",
    re.IGNORECASE,
)


@struct
class Reference:
    """A name taken apart: ``repository`` without tag, ``pin`` the digest if there is one."""

    text: str
    repository: str
    pin: str | None

    @property
    def registry(self) -> str:
        """The registry's host, the Docker Hub under one name."""
        host: str = resolve_repository_name(self.repository)[0]
        return canonical_host(host)

    @property
    def path(self) -> str:
        """The repository in its long form, to compare with others."""
        name: str = resolve_repository_name(self.repository)[1]
        is_official = self.registry == "docker.io" and "/" not in name
        return f"{self.registry}/{'library/' if is_official else ''}{name}"


def canonical_host(host: str) -> str:
    """
    >>> canonical_host("https://index.docker.io/v1/"), canonical_host("127.0.0.1:5000")
    ('docker.io', '127.0.0.1:5000')
    """
    name = host.removeprefix("https://").removeprefix("http://").split("/")[0]
    return "docker.io" if name in _HUB else name


def parse_reference(text: str) -> Reference:
    """
    >>> parse_reference("127.0.0.1:5000/shop:1.4").repository
    '127.0.0.1:5000/shop'
    >>> parse_reference("shop:1.4@sha256:abc")
    Reference(text='shop:1.4@sha256:abc', repository='shop', pin='sha256:abc')
    """
    name, at, digest = text.partition("@")
    repository: str = parse_repository_tag(name)[0]
    return Reference(text, repository, digest if at else None)


class Images:
    """The images of one engine, with the credentials one release brings."""

    def __init__(
        self,
        client: docker.APIClient,
        effects: Effects,
        template: ReleaseTemplate,
        material: Material,
    ) -> None:
        self._client: Any = client  # its types know too little
        self._effects = effects
        self._template = template
        self._material = material
        self.warnings: list[str] = []

    def resolve(self, text: str) -> str:
        """The image itself: ``repo@sha256:...``, or its id when no registry knows it. It is here
        afterwards.

        A tag is asked of its registry each time, for tags move. If the registry does not answer,
        a copy here will do (with a warning); if it says no, it will not: what a tenant may not pull
        it may not run either.
        """
        local = self._find(text)
        if text.startswith(_ID):
            if local is None:
                raise ImageError(f"image {text} is not on this engine")
            return str(local["Id"])
        reference = parse_reference(text)
        known = _digest_here(local, reference) if local else None
        if local is not None and known is None and reference.pin is None:
            return str(local["Id"])
        try:
            digest = reference.pin or self._ask(reference)
        except ImageError as error:
            if known is None or not error.is_retryable:
                raise
            self.warnings.append(f"{error.message}; the copy on the engine is used")
            digest = known
        pinned = f"{reference.repository}@{digest}"
        self.ensure(pinned)
        return pinned

    def ensure(self, text: str) -> None:
        """Pull it unless it is here; ImageError."""
        if self._find(text) is not None:
            return
        if text.startswith(_ID):
            raise ImageError(f"image {text} is not on this engine any more")
        reference = parse_reference(text)
        tag = reference.pin or parse_repository_tag(text)[1] or "latest"
        with self._effects.made(f"pull:{text}"):
            try:
                lines = self._client.pull(
                    reference.repository,
                    tag=tag,
                    stream=True,
                    decode=True,
                    auth_config=self._credentials(reference),
                )
                # A pull that failed half-way says so in its stream only.
                for line in lines:
                    if "error" in line:
                        raise _failure(text, str(line["error"]))
            except APIError as error:
                raise _failure(text, engine_text(error)) from error

    def _ask(self, reference: Reference) -> str:
        try:
            found = self._client.inspect_distribution(
                reference.text, auth_config=self._credentials(reference)
            )
        except APIError as error:
            raise _failure(reference.text, engine_text(error)) from error
        return str(found["Descriptor"]["digest"])

    def _find(self, text: str) -> Mapping[str, Any] | None:
        try:
            found: dict[str, Any] = self._client.inspect_image(text)
        except ImageNotFound:
            return None
        return found

    def _credentials(self, reference: Reference) -> dict[str, Any] | None:
        """None leaves it to the ``docker login`` of the user we run as."""
        for mount in self._template.secrets:
            is_meant = canonical_host(mount.target) == reference.registry
            if mount.type is SecretType.REGISTRY and is_meant:
                value = self._material.secrets.get(mount.secret)
                if value is None:
                    raise ProviderError(f"{mount.secret} has no value, so nothing was pulled")
                user, colon, password = value.reveal().decode("utf-8", "replace").partition(":")
                if not colon:
                    raise ProviderError(f"{mount.secret} is not of the form user:password")
                return {"username": user, "password": password.rstrip("\r\n")}
        return None


def _digest_here(local: Mapping[str, Any], reference: Reference) -> str | None:
    """The digest under which the registry of ``reference`` gave us this image."""
    digests: Iterable[str] = local.get("RepoDigests") or ()
    for text in digests:
        found = parse_reference(text)
        if found.path == reference.path:
            return found.pin
    return None


def _failure(text: str, words: str) -> ImageError:
    return ImageError(
        f"image {text!r} cannot be pulled: {words}", is_retryable=bool(_PASSING.search(words))
    )
