"""The list call of an engine on this machine, with the standard library alone.

Looking is all that a plan does. The SDK takes longer to import than a thousand containers take to
be listed, so it is left to those who act.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import urlencode

from ctrlplane_gitops.errors import ProviderError, UnreachableError
from ctrlplane_gitops.providers.docker.translate import label_filter


class _UnixConnection(HTTPConnection):
    """HTTP over the socket at ``path``; ``timeout_s`` for each step."""

    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def list_containers(
    provider: str, path: str, timeout_s: float, labels: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The rows of every container that carries these labels, running or not, by one request.

    UnreachableError when the engine does not answer, ProviderError when it says no."""
    filters = json.dumps(label_filter(labels))
    # Without a version in front the engine answers as itself: nobody has to be asked first.
    target = "/containers/json?" + urlencode({"all": 1, "filters": filters})
    connection = _UnixConnection(path, timeout_s)
    try:
        connection.request("GET", target)
        answer = connection.getresponse()
        content = answer.read()
        rows = json.loads(content) if answer.status == 200 else []
    except (OSError, HTTPException, ValueError) as error:
        raise UnreachableError(
            f"{provider}: the Docker engine does not answer: {error or type(error).__name__}",
            hint="is it running, and may this user open its socket?",
        ) from error
    finally:
        connection.close()
    if answer.status != 200:
        raise ProviderError(
            f"{provider}: cannot list containers: {_message(content) or answer.reason}",
            is_retryable=answer.status >= 500,
        )
    return list(rows)


def _message(content: bytes) -> str:
    """The engine's own words."""
    try:
        return str(json.loads(content)["message"]).strip()
    except (ValueError, KeyError, TypeError):
        return content.decode("utf-8", "replace").strip()
