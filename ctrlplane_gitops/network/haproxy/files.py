"""What a HAProxy is told on disk: its configuration, maps and certificates."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ctrlplane_gitops.errors import ProviderError, UsageError
from ctrlplane_gitops.file import read_file, write_file
from ctrlplane_gitops.network.certificate import Pem
from ctrlplane_gitops.network.haproxy.config import NAME
from ctrlplane_gitops.network.haproxy.place import Place
from ctrlplane_gitops.network.haproxy.render import SHAPE_MARK, dump_map, load_map
from ctrlplane_gitops.network.haproxy.shape import Shape, decode_shape, pem_file
from ctrlplane_gitops.network.router import RouterSettings
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.value import struct

_CHECK_S = 60.0
_SBIN = "/usr/local/sbin:/usr/sbin:/sbin"


@struct
class HaproxyFiles:
    """``draft`` is where a configuration lies while it is judged. What stands in a directory of
    the user's may be read by the group of that directory: there may be a key in it, and the
    user's HAProxy may be another user."""

    place: Place
    draft: Path
    settings: RouterSettings

    def read_shape(self) -> Shape | None:
        """That of the configuration on disk."""
        first = (read_file(self.place.config) or "").partition("\n")[0]
        if not first.startswith(SHAPE_MARK):
            return None
        try:
            return decode_shape(first.removeprefix(SHAPE_MARK))
        except (ValueError, KeyError, TypeError):
            return None

    def read_routes(self) -> dict[str, str]:
        return load_map(read_file(self.place.routes) or "")

    def read_state(self) -> dict[str, str]:
        return load_map(read_file(self.place.state) or "")

    def write_maps(self, routes: Mapping[str, str], state: Mapping[str, str]) -> None:
        self._write(self.place.routes, dump_map(routes))
        self._write(self.place.state, dump_map(state))

    def read_certificate(self, key: ResourceKey) -> str | None:
        """The PEM as it was written last."""
        return read_file(self.place.certificates / pem_file(key))

    def write_certificates(self, lists: Mapping[str, list[str]], pems: Mapping[str, Pem]) -> None:
        """The PEMs by file name, and by entry point the list of those it shows."""
        folder = self.place.certificates
        if (lists or pems) and not folder.is_dir():
            folder.mkdir(mode=0o700, parents=self.place.is_whole)
            if not self.place.is_whole:
                with suppress(PermissionError):
                    os.chown(folder, -1, self.place.directory.stat().st_gid)
                folder.chmod(0o750)
        for name, pem in sorted(pems.items()):
            self._write(folder / name, pem.text)
        for point, names in sorted(lists.items()):
            text = "".join(f"{folder / name}\n" for name in names)
            self._write(folder / f"{point}.list", text)

    def drop_certificates(self, kept: Mapping[str, Pem]) -> None:
        """Those that no list names any more."""
        for path in sorted(self.place.certificates.glob("*.pem")):
            if path.name not in kept:
                with self.settings.effect(f"remove:{path.name}"):
                    path.unlink(missing_ok=True)

    def write_config(self, text: str, check: list[str] | None) -> None:
        """Judged by HAProxy itself before it takes the place of the one before; ProviderError
        with its words. ``check`` is the command, to which the draft is added; None: it is known to
        be sound."""
        if read_file(self.place.config) == text:
            return
        if check is not None:
            self._check(text, check)
        self._write(self.place.config, text)

    def _check(self, text: str, command: list[str]) -> None:
        for path in (self.place.routes, self.place.state):
            if not path.exists():
                write_file(path, "", self._mode, is_shared=not self.place.is_whole)
        write_file(self.draft, text, 0o600)
        try:
            words = _judge([*command, "-f", str(self.draft)])
        finally:
            self.draft.unlink(missing_ok=True)
        if words:
            raise ProviderError(f"the router refused its configuration: {words}")

    @contextmanager
    def as_before_on_error(self) -> Iterator[None]:
        """What was refused or could not be loaded is taken back, the certificates themselves apart,
        so that nobody's next start meets it either."""
        lists = self.place.certificates.glob("*.list")
        paths = (self.place.config, self.place.routes, self.place.state, *lists)
        before = {path: read_file(path) for path in paths}
        try:
            yield
        except ProviderError:
            for path, text in before.items():
                if text is not None:
                    self._write(path, text)
                elif path.exists():
                    with self.settings.effect(f"remove:{path.name}"):
                        path.unlink(missing_ok=True)
            raise

    @property
    def _mode(self) -> int:
        return 0o600 if self.place.is_whole else 0o640

    def _write(self, path: Path, text: str) -> None:
        if read_file(path) != text:
            with self.settings.effect(f"write:{path.name}"):
                write_file(path, text, self._mode, is_shared=not self.place.is_whole)


def find_haproxy(wanted: str | None, path: str | None) -> str:
    """The one asked for, or the first on the PATH, where system programs are added to it."""
    if wanted is not None:
        if os.access(wanted, os.X_OK) and Path(wanted).is_file():
            return str(Path(wanted).absolute())
        raise UsageError(f"router ({NAME}): binary {wanted!r} is not a program")
    found = shutil.which(NAME, path=f"{path or ''}:{_SBIN}")
    if found is None:
        raise UsageError(
            f"router ({NAME}): no haproxy on this machine",
            hint="install the package haproxy, or say where it is with `binary`",
        )
    return found


def run_program(
    argv: Sequence[str],
    task: str,
    timeout_s: float,
    environ: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """What came of a program of the user's. ProviderError where it cannot be started, or where the
    ``task`` it has takes too long."""
    try:
        return subprocess.run(
            argv,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=timeout_s,
        )
    except OSError as error:
        raise ProviderError(f"{argv[0]} cannot be started: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise ProviderError(
            f"{task} took longer than {timeout_s:.0f} s", is_retryable=True
        ) from None


def _judge(argv: list[str]) -> str:
    """What HAProxy has against a configuration; empty for nothing."""
    ran = run_program(argv, "the check of the configuration", _CHECK_S)
    if not ran.returncode:
        return ""
    alerts = "\n".join(line for line in ran.stderr.splitlines() if "[ALERT]" in line)
    return " ".join((alerts or ran.stdout + ran.stderr).split())[:600] or f"exit {ran.returncode}"
