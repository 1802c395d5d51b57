"""The list call of an engine on this machine, with the standard library alone.

Looking is all that a plan does. The SDK takes longer to import than a thousand containers take to
be listed, so it is left to those who act.
"""

from __future__ import annotations

import codecs
import json
import re
import socket
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any
from urllib.parse import urlencode

from ctrlplane_gitops.errors import ProviderError, UnreachableError
from ctrlplane_gitops.providers.docker.translate import label_filter

_MARK = re.compile(r"\s*([\[,\]])\s*")


def list_containers(
    provider: str, path: str, timeout_s: float, filters: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """The rows of every container that passes the engine's filters, running or not, by one request,
    as they come: ten thousand of them are thirty mebibytes, and decoding them at once keeps every
    other thread waiting for a tenth of a second.

    UnreachableError when the engine does not answer, ProviderError when it says no."""
    # Without a version in front the engine answers as itself: nobody has to be asked first.
    target = "/containers/json?" + urlencode({"all": 1, "filters": json.dumps(filters)})
    return _list(provider, path, timeout_s, "containers", target)


def list_networks(
    provider: str, path: str, timeout_s: float, labels: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The rows of every network that carries these labels, in the same way."""
    target = "/networks?" + urlencode({"filters": json.dumps(label_filter(labels))})
    return list(_list(provider, path, timeout_s, "networks", target))


def _list(
    provider: str, path: str, timeout_s: float, what: str, target: str
) -> Iterator[dict[str, Any]]:
    try:
        parts = _get(path, target, timeout_s)
        status, first = _read_head(parts)
        if status == 200:
            yield from parse_rows(chain([first], parts))
            return
        content = first + b"".join(parts)
    except (OSError, ValueError) as error:
        raise UnreachableError(
            f"{provider}: the Docker engine does not answer: {error or type(error).__name__}",
            hint="is it running, and may this user open its socket?",
        ) from error
    raise ProviderError(
        f"{provider}: cannot list {what}: {_message(content) or f'status {status}'}",
        is_retryable=status >= 500,
    )


def _get(path: str, target: str, timeout_s: float) -> Iterator[bytes]:
    """The answer in pieces; OSError when there is none. ``timeout_s`` is for each step."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout_s)
        connection.connect(path)
        connection.sendall(request_of(target))
        while part := connection.recv(1 << 18):
            yield part


def _read_head(parts: Iterator[bytes]) -> tuple[int, bytes]:
    """The status, and what of the content came along."""
    answer = b""
    for part in parts:
        answer += part
        if b"\r\n\r\n" in answer:
            break
    return read_answer(answer)


def parse_rows(parts: Iterable[bytes]) -> Iterator[Any]:
    """The objects of a JSON array, each decoded as soon as it is there; ValueError where the array
    does not end.

    >>> list(parse_rows([b'[{"a": 1}, {"b"', b': "c', b'd"}]']))
    [{'a': 1}, {'b': 'cd'}]
    >>> list(parse_rows([b"[]"]))
    []
    """
    decode = codecs.getincrementaldecoder("utf-8")().decode
    scan = json.JSONDecoder().raw_decode
    text = ""
    for part in parts:
        text, at = text + decode(part), 0
        while (mark := _MARK.match(text, at)) is not None:
            if mark[1] == "]" or text[mark.end() : mark.end() + 1] == "]":
                return
            try:
                row, at = scan(text, mark.end())
            except ValueError:
                # There is more to come.
                break
            yield row
        text = text[at:]
    raise ValueError("the answer is not a whole list")


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
