"""One watch: what changes of a collection, as it comes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from enum import StrEnum
from typing import Any

import urllib3
from urllib3.exceptions import HTTPError

from ctrlplane_gitops.cluster.api import Object, read_version
from ctrlplane_gitops.cluster.connection import JSON, Connection
from ctrlplane_gitops.cluster.failure import build_error
from ctrlplane_gitops.cluster.resource import ResourceType, label_selector
from ctrlplane_gitops.errors import UnreachableError
from ctrlplane_gitops.value import struct

_META = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
# No object is larger than what etcd takes, which is 1.5 MB unless somebody has raised that.
_LONGEST_LINE = 16 << 20
# A bookmark comes every minute or so, except where its version would be the one we began with.
_SILENCE_S = 150.0


class WatchType(StrEnum):
    """``BOOKMARK``: all that came before this version has been told."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"
    BOOKMARK = "BOOKMARK"


@struct
class WatchEvent:
    """``object`` is as it is now, or was before it was deleted or lost its labels."""

    type: WatchType
    object: Object
    version: int


class Stream:
    """``read`` is for one thread, ``cut`` for any."""

    def __init__(self, response: urllib3.BaseHTTPResponse, what: str) -> None:
        self._response = response
        self._what = what

    def read(self) -> Iterator[WatchEvent]:
        """Until the server ends it, at its time.

        Errors: ApiError 410 where the version is too old to go on from; UnreachableError where
        the connection breaks, or was cut."""
        rest = b""
        try:
            for data in self._response.stream(1 << 16):
                *lines, rest = (rest + data).split(b"\n")
                for line in filter(None, lines):
                    yield self._read_line(line)
                if len(rest) > _LONGEST_LINE:
                    raise UnreachableError(f"cannot {self._what}: an event has no end")
        except (HTTPError, OSError, ValueError, KeyError, AttributeError) as error:
            raise UnreachableError(f"cannot {self._what}: it broke off: {error}") from None

    def _read_line(self, line: bytes) -> WatchEvent:
        event = json.loads(line)
        found = event["object"]
        if event["type"] == "ERROR":
            raise build_error(
                self._what, int(found.get("code") or 500), {}, json.dumps(found).encode()
            )
        return WatchEvent(WatchType(event["type"]), found, read_version(found))

    def cut(self) -> None:
        with suppress(OSError, ValueError, RuntimeError):
            self._response.shutdown()


@contextmanager
def open_watch(
    connection: Connection,
    kind: ResourceType,
    labels: Mapping[str, str],
    version: int,
    life_s: int,
    *,
    is_meta: bool = False,
) -> Iterator[Stream]:
    """All changes after ``version`` of objects that carry these labels, for ``life_s``. Errors as
    those of ``Connection``."""
    what = f"watch {kind.plural}"
    query: dict[str, Any] = {
        "watch": "true",
        "allowWatchBookmarks": "true",
        "resourceVersion": version,
        "timeoutSeconds": life_s,
        "labelSelector": label_selector(labels),
    }
    with connection.open(
        kind.path(),
        what,
        query=query,
        read_s=_SILENCE_S,
        accept=_META if is_meta else JSON,
    ) as response:
        yield Stream(response, what)
