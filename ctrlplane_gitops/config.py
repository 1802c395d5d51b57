"""Settings of this machine and this run: from the environment, never from the Git repo."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ctrlplane_gitops.errors import UsageError
from ctrlplane_gitops.value import struct

_NAME = "ctrlplane-gitops"


@struct
class Settings:
    """``state_home`` holds one directory per control plane (store, processes, volumes);
    ``cache_home`` holds what can be lost (parse cache, mirrors). ``secrets_dir`` is the root of
    secrets ``from: {file: ...}``, None when it is not set. ``actor`` is ``user:<name>``."""

    state_home: Path
    cache_home: Path
    secrets_dir: Path | None = None
    store: str | None = None
    actor: str = "user:unknown"


def load_settings(environ: Mapping[str, str]) -> Settings:
    """The settings; UsageError when no directory for state can be told."""
    secrets = environ.get("CTRLPLANE_SECRETS_DIR")
    return Settings(
        state_home=_find_home(environ, "CTRLPLANE_STATE_DIR", "XDG_STATE_HOME", ".local/state"),
        cache_home=_find_home(environ, "CTRLPLANE_CACHE_DIR", "XDG_CACHE_HOME", ".cache"),
        secrets_dir=Path(secrets).absolute() if secrets else None,
        store=environ.get("CTRLPLANE_STORE") or None,
        actor=f"user:{_find_user(environ)}",
    )


def _find_home(environ: Mapping[str, str], own: str, base: str, below_home: str) -> Path:
    """``own`` names the directory itself, ``base`` a directory to put ours in."""
    if environ.get(own):
        return Path(environ[own]).absolute()
    # The XDG specification: a relative path in these variables is to be ignored.
    if Path(environ.get(base, "")).is_absolute():
        return Path(environ[base]) / _NAME
    home = environ.get("HOME") or str(Path("~").expanduser())
    if not Path(home).is_absolute():
        raise UsageError(f"no home directory is known; set {own}")
    return Path(home) / below_home / _NAME


def _find_user(environ: Mapping[str, str]) -> str:
    for name in ("CTRLPLANE_ACTOR", "USER", "LOGNAME"):
        if environ.get(name):
            return environ[name]
    return f"uid-{os.getuid()}"


def plane_dir(settings: Settings, plane: str) -> Path:
    """Where one control plane keeps its state on this machine."""
    return settings.state_home / plane


def store_location(settings: Settings, plane: str, from_spec: str | None) -> str:
    """``CTRLPLANE_STORE``, else ``spec.store``, else the default. A relative path is taken from
    the control plane's own directory, so that it means the same from every working directory."""
    location = settings.store or from_spec or "state.db"
    if ":" in location or Path(location).is_absolute():
        return location
    return str(plane_dir(settings, plane) / location)
