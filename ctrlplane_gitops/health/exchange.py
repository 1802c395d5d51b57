"""One HTTP probe as text: what is asked, and what the answer says. Pure."""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import quote

from ctrlplane_gitops.health.check import ProbeResult
from ctrlplane_gitops.health.target import ProbeFailed
from ctrlplane_gitops.state.desired import HealthCheck

CHUNK_BYTES = 8192
MAX_BODY_BYTES = 64 * 1024
DRAIN_PAUSE_S = 0.2
_MAX_HEAD_BYTES = 64 * 1024
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3})(?: |\r|$)")
_PATH_SAFE = "%/:?[]@!$&'()*+,;=~-._"


def build_request(path: str, host: str, port: int) -> bytes:
    """
    >>> build_request("ready", "::1", 80).split(b"\\r\\n")[:2]
    [b'GET /ready HTTP/1.1', b'Host: [::1]:80']
    """
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return (
        f"GET {_target(path)} HTTP/1.1\r\nHost: {authority}\r\n"
        "User-Agent: ctrlplane-gitops-probe\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    ).encode("ascii")


@lru_cache(1024)
def _target(path: str) -> str:
    """Quoting also keeps line breaks in a path from becoming headers."""
    return quote(path if path.startswith("/") else f"/{path}", _PATH_SAFE)


def read_status(head: bytes, *, is_closed: bool) -> int | None:
    """The status code of what has come so far; None while the head is not whole. ProbeFailed when
    it will never be one.

    >>> read_status(b"HTTP/1.1 204 No Content\\r\\n\\r\\n", is_closed=False)
    204
    >>> read_status(b"HTTP/1.1 20", is_closed=False)
    """
    if b"\r\n\r\n" not in head and not is_closed:
        if len(head) > _MAX_HEAD_BYTES:
            raise ProbeFailed(f"headers longer than {_MAX_HEAD_BYTES // 1024} KiB")
        return None
    match = _STATUS_LINE.match(head)
    if not match:
        raise ProbeFailed("not an HTTP answer" if head else "closed without an answer")
    return int(match[1])


def judge_status(check: HealthCheck, status: int) -> ProbeResult:
    """
    >>> judge_status(HealthCheck("up", "http"), 503).message
    'status 503, not 200-399'
    """
    low, high = check.statuses
    is_ok = low <= status <= high
    return ProbeResult(is_ok, str(status) if is_ok else f"status {status}, not {low}-{high}")
