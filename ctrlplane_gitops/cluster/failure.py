"""What an API server says when it says no, translated once.

Kubernetes answers with a ``Status``: a code, a reason in one word, a message and, for some, causes
that name a field each.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from ctrlplane_gitops.errors import ProviderError
from ctrlplane_gitops.redact import one_line
from ctrlplane_gitops.value import struct

_MANAGER_CONFLICT = "FieldManagerConflict"
# Server-side apply answers 500 to what its schema does not know; nothing is wrong with the server.
_NOT_IN_SCHEMA = ("field not declared in schema", "failed to create typed patch object")
# An admission webhook says it with whatever status it likes, a policy with 422.
_DENIED = re.compile(r"admission webhook .* denied the request|ValidatingAdmissionPolicy .* denied")
_LONGEST_WAIT_S = 86400.0
_MOST_TEXT = 1000


@struct
class Cause:
    """One field that an answer names, as ``.spec.replicas``."""

    reason: str
    field: str
    message: str


class ApiError(ProviderError):
    """An API server answered with an error. ``status`` is the HTTP code; ``reason`` Kubernetes' own
    word ("" where it has none); ``retry_after_s`` what it asks us to wait."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 500,
        reason: str = "",
        causes: tuple[Cause, ...] = (),
        retry_after_s: float | None = None,
        is_retryable: bool = False,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint, is_retryable=is_retryable)
        self.status = status
        self.reason = reason
        self.causes = causes
        self.retry_after_s = retry_after_s

    @property
    def is_absent(self) -> bool:
        return self.status == 404

    @property
    def is_terminating(self) -> bool:
        """Whether the namespace is on its way out, so that nothing can be made in it."""
        return any(item.reason == "NamespaceTerminating" for item in self.causes)

    @property
    def owners(self) -> Mapping[str, str]:
        """By field, how the server names who else has it: ``conflict with "kubectl" ...``."""
        conflicts = (item for item in self.causes if item.reason == _MANAGER_CONFLICT)
        return {item.field: item.message for item in conflicts}


def build_error(what: str, status: int, headers: Mapping[str, str], content: bytes) -> ApiError:
    """``what`` was tried, as in ``cannot <what>``.

    Retryable are 429, 5xx, a write that another one overtook and a namespace that is going; all
    else stays what it is until something is changed. Refusals are what the cluster's own rules do
    not let us: rights, quotas, policies, webhooks.

    >>> build_error("list pods", 403, {}, b'{"reason":"Forbidden","message":"no"}').message
    'cannot list pods: no'
    >>> text = b'{"message":"failed to create typed patch object: .spec.x: field not declared"}'
    >>> build_error("apply it", 500, {}, text).is_retryable
    False
    """
    said = _parse(content)
    reason = str(said.get("reason") or "")
    text = one_line(str(said.get("message") or "") or content.decode("utf-8", "replace"))
    details = said.get("details") or {}
    causes = tuple(
        Cause(str(row.get("reason", "")), str(row.get("field", "")), str(row.get("message", "")))
        for row in details.get("causes") or ()
        if isinstance(row, dict)
    )
    is_schema = status == 500 and any(part in text for part in _NOT_IN_SCHEMA)
    error = ApiError(
        f"cannot {what}: {text[:_MOST_TEXT] or f'status {status}'}",
        status=status,
        reason=reason,
        causes=causes,
        retry_after_s=_seconds(headers, details),
        hint=_hint(status, text),
    )
    is_manager = any(item.reason == _MANAGER_CONFLICT for item in causes)
    is_taken = reason == "AlreadyExists" or is_manager
    is_passing = status in (408, 410, 429) or (status >= 500 and not is_schema)
    error.is_retryable = is_passing or (status == 409 and not is_taken) or error.is_terminating
    is_denied = status < 500 and _DENIED.search(text) is not None
    error.is_refusal = not error.is_retryable and (status in (401, 403) or is_denied)
    return error


def _parse(content: bytes) -> Mapping[str, Any]:
    try:
        said = json.loads(content)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _seconds(headers: Mapping[str, str], details: Mapping[str, Any]) -> float | None:
    for value in (headers.get("Retry-After"), details.get("retryAfterSeconds")):
        try:
            if value is not None and float(value) >= 0:
                return min(float(value), _LONGEST_WAIT_S)
        except (TypeError, ValueError):
            continue
    return None


def _hint(status: int, text: str) -> str | None:
    if status == 401:
        return "the credential is not valid (any more)"
    if _DENIED.search(text):
        return "that is a rule of the cluster; the next pass tries again"
    if "failed calling webhook" in text:
        return "who answers for that webhook is down; the cluster takes nothing without its word"
    if "exceeded quota" in text:
        return "raise that ResourceQuota, or ask for less; the next pass tries again"
    if status == 403 and "being terminated" not in text:
        return "may this user do it? `kubectl auth can-i --list` tells what it may"
    return None
