"""Starting one replica: its directory first, then ``replica.json``, then its keeper."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ctrlplane_gitops.clock import monotonic_s, sleep
from ctrlplane_gitops.errors import ProviderError
from ctrlplane_gitops.process_id import reap
from ctrlplane_gitops.providers.process.layout import (
    Layout,
    Slug,
    make_private_dir,
    read_json,
    remove_tree,
    write_json,
)
from ctrlplane_gitops.providers.process.translate import TAG_KEEPER, ReplicaSpec, encode_spec
from ctrlplane_gitops.state.action import Material
from ctrlplane_gitops.state.template import ReleaseTemplate, SecretType
from ctrlplane_gitops.value import struct

_KEEPER = Path(__file__).with_name("keeper.py")
_LOCK_PATIENCE_S = 5.0
_START_PATIENCE_S = 30.0
_LOW_FDS = 10


@struct
class Launch:
    """A replica about to start. ``argv`` holds no secret; ``environment`` does."""

    slug: Slug
    spec: ReplicaSpec
    argv: Sequence[str]
    environment: Mapping[str, str]
    tags: Mapping[str, str]
    log_bytes: int


@contextmanager
def lock_replica(directory: Path) -> Iterator[int]:
    """Hold the replica's lock; the keeper inherits it for its life, so two never run at once.
    ProviderError (retryable) when somebody else holds it."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    opened = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    handle = fcntl.fcntl(opened, fcntl.F_DUPFD_CLOEXEC, _LOW_FDS)
    os.close(opened)
    try:
        deadline = monotonic_s() + _LOCK_PATIENCE_S
        while not _try_lock(handle):
            if monotonic_s() > deadline:
                raise ProviderError(f"{directory} is in use by another process", is_retryable=True)
            sleep(0.02)
        yield handle
    finally:
        os.close(handle)


def _try_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def prepare(
    layout: Layout, slug: Slug, spec: ReplicaSpec, template: ReleaseTemplate, material: Material
) -> None:
    """A fresh working directory; ``replica.json`` comes last, so a directory that has one is whole
    but for its keeper. The log of an earlier start is kept."""
    directory = layout.replica_dir(slug)
    remove_tree(layout.secrets_dir(slug))
    for stale in ("work", "state.json", "stop", "replica.json"):
        remove_tree(directory / stale)
    work = directory / "work"
    work.mkdir(mode=0o700)
    for volume in template.volumes:
        source = layout.volumes_dir(slug.instance) / volume.name
        source.mkdir(mode=0o700, parents=True, exist_ok=True)
        _link(work / volume.path, source)
    for file in template.files:
        _write(work / file.path, material.files[file.digest], file.mode)
    mounts = [mount for mount in template.secrets if mount.type is SecretType.FILE]
    if mounts:
        secrets = layout.secrets_dir(slug)
        if secrets.parent != directory:
            make_private_dir(secrets.parent)
        make_private_dir(secrets)
        for number, mount in enumerate(mounts):
            _write(secrets / str(number), material.secrets[mount.secret].reveal(), 0o600)
            _link(work / mount.target, secrets / str(number))
    write_json(directory / "replica.json", encode_spec(spec))


def _link(path: Path, target: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


def _write(path: Path, content: bytes, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        os.fchmod(handle, mode)
        file.write(content)


def spawn_keeper(layout: Layout, launch: Launch, lock: int, claim: int) -> int:
    """The keeper's pid. It shares nothing with us but the lock and the claim on its ports: own
    session, null for stdio, and a pipe for its request that ends with the request."""
    directory = layout.replica_dir(launch.slug)
    request = {
        "id": launch.spec.id,
        "argv": list(launch.argv),
        "cwd": str(directory / "work"),
        "env": dict(launch.environment),
        "log_bytes": launch.log_bytes,
        "groups": dict(launch.spec.groups),
    }
    low_reader, writer = os.pipe2(os.O_CLOEXEC)
    # Above the numbers the keeper gets, so that no dup2 overwrites one still needed.
    reader = fcntl.fcntl(low_reader, fcntl.F_DUPFD_CLOEXEC, _LOW_FDS)
    os.close(low_reader)
    actions: list[tuple[Any, ...]] = [
        (os.POSIX_SPAWN_DUP2, reader, 0),
        (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
        (os.POSIX_SPAWN_DUP2, 1, 2),
        (os.POSIX_SPAWN_DUP2, lock, 3),
        (os.POSIX_SPAWN_DUP2, claim, 4),
    ]
    arguments = [sys.executable, "-I", "-S", "-X", "utf8", str(_KEEPER), str(directory)]
    with os.fdopen(writer, "wb") as pipe:
        try:
            pid = os.posix_spawn(
                sys.executable,
                arguments,
                {**launch.tags, TAG_KEEPER: launch.spec.id},
                file_actions=actions,
                setsid=True,
                setsigmask=(),
                setsigdef=(signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD),
            )
        finally:
            os.close(reader)
        # A keeper that died at once is reported by whoever waits for its state.
        with suppress(BrokenPipeError):
            pipe.write(json.dumps(request).encode())
            pipe.flush()
    return pid


def wait_started(layout: Layout, launch: Launch, pid: int) -> None:
    """Until the application runs; ProviderError with the cause when it could not be started."""
    path = layout.replica_dir(launch.slug) / "state.json"
    deadline = monotonic_s() + _START_PATIENCE_S
    while True:
        is_over = reap(pid)
        state = read_json(path)
        if isinstance(state, dict) and state.get("id") == launch.spec.id:
            reason = str(state.get("reason", ""))
            if state.get("exit_code") == 127 and reason.startswith("could not be started"):
                raise ProviderError(f"{launch.spec.name} {reason}")
            return
        if is_over:
            raise ProviderError(f"{launch.spec.name}: its keeper ended early", is_retryable=True)
        if monotonic_s() > deadline:
            raise ProviderError(f"{launch.spec.name}: its keeper is silent", is_retryable=True)
        sleep(0.005)
