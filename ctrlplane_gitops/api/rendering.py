"""Templates to text. The environment is our own: a host application's filters, settings and
templates of the same names change nothing here, and everything is escaped."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ctrlplane_gitops import __version__
from ctrlplane_gitops.api import wording
from ctrlplane_gitops.value import struct

_FOLDER = Path(__file__).parent


@struct
class Link:
    """An entry of the navigation; ``name`` is the page's."""

    name: str
    text: str
    url: str


@struct
class Frame:
    """What is around every page. ``stream`` is the address of the server-sent events, "" for a
    page that stands still; ``csrf`` goes into every form; ``said`` is what was just done."""

    plane: str
    now: datetime
    here: str = ""
    links: tuple[Link, ...] = ()
    query: str = ""
    csrf: str = ""
    stream: str = ""
    said: str = ""
    is_signed_in: bool = False
    version: str = __version__


def render(
    name: str,
    frame: Frame,
    url: Callable[..., str],
    asset: Callable[[str], str],
    values: Mapping[str, Any],
) -> str:
    """The page. ``url`` makes the address of a page by its name and arguments (None and "" are
    left out), ``asset`` that of a file of ``static/``."""

    def ago(at: datetime | str | None) -> str:
        return wording.ago(at, frame.now)

    template = _environment().get_template(name)
    return template.render(values, frame=frame, url=url, asset=asset, ago=ago)


@lru_cache(maxsize=1)
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(_FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.globals.update(
        tone_of=wording.tone_of,
        spoken=wording.spoken,
        lasting=wording.lasting,
        exact=wording.exact,
        clock_time=wording.clock_time,
    )
    return made


@lru_cache(maxsize=16)
def read_static(name: str) -> bytes:
    """A file of ``static/``."""
    return (_FOLDER / "static" / name).read_bytes()


@lru_cache(maxsize=16)
def digest_of(name: str) -> str:
    """Changes with the file, so that browsers may keep it for good."""
    return hashlib.sha256(read_static(name)).hexdigest()[:12]
