"""The list call of an engine on this machine, with the standard library alone.

Looking is all that a plan does. The SDK takes longer to import than a thousand containers take to
be listed, so it is left to those who act.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from ctrlplane_gitops.errors import ProviderError, UnreachableError
from ctrlplane_gitops.providers.docker.translate import label_filter


def list_containers(
    provider: str, path: str, timeout_s: float, filters: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The rows of every container that passes the engine's filters, running or not, by one request.

    UnreachableError when the engine does not answer, ProviderError when it says no."""
    # Without a version in front the engine answers as itself: nobody has to be asked first.
    target = "/containers/json?" + urlencode({"all": 1, "filters": json.dumps(filters)})
    return _list(provider, path, timeout_s, "containers", target)


def list_networks(
    provider: str, path: str, timeout_s: float, labels: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The rows of every network that carries these labels, in the same way."""
    target = "/networks?" + urlencode({"filters": json.dumps(label_filter(labels))})
    return _list(provider, path, timeout_s, "networks", target)


def _list(
    provider: str, path: str, timeout_s: float, what: str, target: str
) -> list[dict[str, Any]]:
    try:
        status, content = read_answer(_get(path, target, timeout_s))
        rows = json.loads(content) if status == 200 else []
    except (OSError, ValueError) as error:
        raise UnreachableError(
            f"{provider}: the Docker engine does not answer: {error or type(error).__name__}",
            hint="is it running, and may this user open its socket?",
        ) from error
    if status != 200:
        raise ProviderError(
            f"{provider}: cannot list {what}: {_message(content) or f'status {status}'}",
            is_retryable=status >= 500,
        )
    return list(rows)


def _get(path: str, target: str, timeout_s: float) -> bytes:
    """The whole answer; OSError when there is none. ``timeout_s`` is for each step."""
    parts = []
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout_s)
        connection.connect(path)
        connection.sendall(request_of(target))
        while part := connection.recv(1 << 18):
            parts.append(part)
    return b"".join(parts)


def request_of(target: str) -> bytes:
    """A GET in HTTP/1.0: its answer ends where the connection does, so there is nothing here that
    would be worth importing TLS and mail for, as ``http.client`` does."""
    return f"GET {target} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode("ascii")


def read_answer(answer: bytes) -> tuple[int, bytes]:
    """Status and content; ValueError where it is no whole answer.

    >>> read_answer(b"HTTP/1.0 200 OK\\r\\nA: b\\r\\n\\r\\n[]")
    (200, b'[]')
    """
    head, end, content = answer.partition(b"\r\n\r\n")
    words = head.split(maxsplit=2)
    if not end or len(words) < 2 or not words[0].startswith(b"HTTP/1."):
        raise ValueError("the connection was closed without an answer")
    return int(words[1]), content


def _message(content: bytes) -> str:
    """The engine's own words."""
    try:
        return str(json.loads(content)["message"]).strip()
    except (ValueError, KeyError, TypeError):
        return content.decode("utf-8", "replace").strip()
