"""Contents of files and values of secrets for the replicas to be started; never written down."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from ctrlplane_gitops.errors import ProviderError
from ctrlplane_gitops.redact import SecretValue
from ctrlplane_gitops.state.action import Material
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.template import Release


class Materials:
    """Where contents come from: what Git says inline, the snapshot's blobs, and for releases that
    Git no longer describes the store's copies."""

    def __init__(
        self,
        inline: Mapping[str, bytes],
        known_blobs: Collection[str],
        read: Callable[[Collection[str]], Mapping[str, bytes]],
        read_stored: Callable[[str], bytes | None],
        secrets: Mapping[ResourceKey, SecretValue],
    ) -> None:
        self._contents = dict(inline)
        self._known = known_blobs
        self._read = read
        self._read_stored = read_stored
        self._secrets = secrets

    @classmethod
    def empty(cls) -> Materials:
        """Nothing, until it is renewed."""
        return cls({}, (), lambda digests: {}, lambda digest: None, {})

    def load(self, releases: Iterable[Release]) -> None:
        """Fetch every content these releases need in one batch; SourceError when it fails."""
        missing = {
            mount.digest
            for release in releases
            for mount in release.template.files
            if mount.digest not in self._contents
        }
        # What there is in a snapshot is gone through only for who needs some of it.
        in_snapshot = missing.intersection(self._known) if missing else missing
        if in_snapshot:
            self._contents.update(self._read(sorted(in_snapshot)))
        for digest in sorted(missing - in_snapshot):
            content = self._read_stored(digest)
            if content is not None:
                self._contents[digest] = content

    def renew(self, newer: Materials) -> None:
        """Take over from ``newer`` what it has loaded, and keep what only we have."""
        self._contents.update(newer._contents)
        self._secrets = {**self._secrets, **newer._secrets}

    def contents_of(self, release: Release) -> dict[str, bytes]:
        """The contents by digest; ProviderError naming a file whose content is gone."""
        found = {}
        for mount in release.template.files:
            content = self._contents.get(mount.digest)
            if content is None:
                raise ProviderError(
                    f"the content of {mount.path} as of {release.label} is not kept any more",
                    hint="deploy a release that Git still describes",
                )
            found[mount.digest] = content
        return found

    def for_release(self, release: Release) -> Material:
        """What a replica of the release is given; ProviderError when a part is gone."""
        secrets = {}
        for mount in release.template.secrets:
            value = self._secrets.get(mount.secret)
            if value is None:
                raise ProviderError(
                    f"{mount.secret} of {release.label} has no value any more",
                    hint="put the secret back, or deploy a release that does not use it",
                )
            secrets[mount.secret] = value
        return Material(self.contents_of(release), secrets)
