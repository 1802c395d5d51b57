"""The request a delivery came in, with the secrets it may be signed with."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from ctrlplane_gitops.errors import DeliveryError
from ctrlplane_gitops.source.hook.delivery import Delivery, Event, Push, digest_of
from ctrlplane_gitops.value import struct

_NO_PUSH = Push()
_ID = re.compile(r"[!-~]{1,200}")


@struct
class Request:
    """``fields`` are the headers by lower-case name. ``tokens`` are secrets as they are configured,
    ``keys`` those of Standard Webhooks, decoded. ``now`` is aware."""

    sender: str
    fields: Mapping[str, Sequence[str]]
    body: bytes
    tokens: tuple[bytes, ...]
    keys: tuple[bytes, ...]
    now: datetime

    def header(self, *names: str) -> str:
        """The value of the first of these headers that was sent, empty without any.

        400 when it was sent twice: somebody in between may have read the other one."""
        for name in names:
            values = self.fields.get(name.lower(), ())
            if len(values) > 1:
                raise malformed(f"the header {name} was sent more than once")
            if values:
                return values[0].strip(" \t")
        return ""

    def event(self, *names: str) -> str:
        """The value of the header that names the event; 400 without it."""
        value = self.header(*names)
        if not value:
            raise malformed(f"the header {names[0]} is missing")
        return value


def read_fields(headers: Iterable[tuple[str, str]]) -> Mapping[str, Sequence[str]]:
    """
    >>> read_fields([("A", "1"), ("b", "2"), ("a", "3")])
    {'a': ['1', '3'], 'b': ['2']}
    """
    fields: dict[str, list[str]] = {}
    for name, value in headers:
        fields.setdefault(name.lower(), []).append(value)
    return fields


def build_delivery(
    request: Request,
    event: Event,
    given_id: str,
    signed: bytes,
    repository: tuple[str, ...] = (),
    push: Push = _NO_PUSH,
) -> Delivery:
    """The delivery with the sender's id, or the digest of what was signed for one."""
    digest = digest_of(signed)
    if given_id and not _ID.fullmatch(given_id):
        raise malformed("the id of the delivery is too long or has characters an id cannot have")
    return Delivery(
        sender=request.sender,
        event=event,
        id=given_id or digest,
        digest=digest,
        repository=repository,
        ref=push.ref,
        before=push.before,
        after=push.after,
    )


def malformed(why: str) -> DeliveryError:
    return DeliveryError(400, why)


def unauthorized(why: str) -> DeliveryError:
    return DeliveryError(401, why)
