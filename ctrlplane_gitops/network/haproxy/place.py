"""Where a control plane's part of a HAProxy lies, and how that is spoken to."""

from __future__ import annotations

from pathlib import Path

from ctrlplane_gitops.value import struct

SOCKET, MASTER = "run.sock", "master.sock"


@struct
class Place:
    """``directory`` holds the configuration, maps and certificates of control plane ``plane``;
    their names begin with ``prefix``. ``socket`` is that of the process that serves, ``master``
    that of the process before them all. ``is_whole``: the configuration is all there is, not a
    part of the user's."""

    plane: str
    directory: Path
    socket: Path
    master: Path
    prefix: str = ""
    is_whole: bool = True

    @property
    def config(self) -> Path:
        return self.directory / (f"{self.plane}.cfg" if self.prefix else "haproxy.cfg")

    @property
    def routes(self) -> Path:
        """Host and path to route."""
        return self.directory / f"{self.prefix}routes.map"

    @property
    def state(self) -> Path:
        """Route to set, and what the rest of us must know."""
        return self.directory / f"{self.prefix}state.map"

    @property
    def certificates(self) -> Path:
        return self.directory / f"{self.prefix}certs"


def whole_place(plane: str, home: Path) -> Place:
    """That of a HAProxy of our own: everything is in ``home``."""
    return Place(plane, home, home / SOCKET, home / MASTER)


def part_place(plane: str, directory: Path, socket: Path, master: Path) -> Place:
    """That in a HAProxy of the user's, where other control planes may have theirs as well.

    >>> place = part_place("prod", Path("/etc/haproxy/ctrlplane"), Path("/a"), Path("/b"))
    >>> place.config.name, place.routes.name, place.certificates.name
    ('prod.cfg', 'prod.routes.map', 'prod.certs')
    """
    return Place(plane, directory, socket, master, f"{plane}.", is_whole=False)
