"""What the name of an image stands for on the nodes of the tests: there is no registry."""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

_WEB_APP = Path(__file__).parents[1] / "engines/web_app.py"
_TAG = re.compile(r":[\w.-]+$")


@dataclass(frozen=True, slots=True)
class Image:
    """``is_run``: a container of it is a real process on this machine, else one that only says it
    runs. ``entrypoint``, ``cmd`` and ``env`` are the image's own, as a Dockerfile sets them.
    ``folders`` are of this machine, and there even where a volume is mounted above them.

    ``fault``: "pull" never arrives, "crash" ends at once, again and again. ``ready_s`` and
    ``stop_s`` are how long one that only says so takes."""

    is_run: bool = False
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    folders: tuple[str, ...] = ()
    fault: str = ""
    ready_s: float = 0.0
    stop_s: float = 0.0


class Images(dict[str, Image]):
    """By name: with its tag, or without, which means every tag. Unknown ones only say they run.

    >>> images = Images({"app": Image(ready_s=1), "app:2": Image(ready_s=2)})
    >>> [images.find(name).ready_s for name in ("app:1", "app:2", "127.0.0.1:5000/app:2@sha256:0")]
    [1, 2, 2]
    >>> images.find("other:1").is_run
    False
    """

    def find(self, name: str) -> Image:
        tagged = name.partition("@")[0]
        short = tagged.rpartition("/")[2]
        for candidate in (name, tagged, _TAG.sub("", tagged), short, _TAG.sub("", short)):
            if candidate in self:
                return self[candidate]
        return Image()


def usual_images() -> Images:
    """``nosuch`` cannot be pulled, ``crash`` ends at once; ``ctrlplane-test-app`` 1 and 2 and
    ``python`` run, as the images of the tests with Docker do."""
    app = ("python3", "-u", str(_WEB_APP))
    return Images(
        {
            "nosuch": Image(fault="pull"),
            "crash": Image(fault="crash"),
            "python": Image(is_run=True, cmd=(sys.executable, "-V")),
            **{
                f"ctrlplane-test-app:{version}": Image(
                    is_run=True, cmd=app, env={"VERSION": version}
                )
                for version in ("1", "2")
            },
        }
    )


def image_id(name: str) -> str:
    """As a runtime would say it; the digest of a name that has one is kept.

    >>> image_id("app@sha256:00")
    'app@sha256:00'
    """
    if "@" in name:
        return name
    return f"{_TAG.sub('', name)}@sha256:{hashlib.sha256(name.encode()).hexdigest()}"
