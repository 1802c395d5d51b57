"""Gitea and Forgejo.

Sources: https://docs.gitea.com/usage/webhooks and https://forgejo.org/docs/latest/user/webhooks
(headers, payload). ``X-Gitea-Signature`` and ``X-Forgejo-Signature`` are the HMAC-SHA256 in bare
hex. Of a form it is made over the payload before it is encoded, other than at GitHub
(``services/webhook`` in the sources of both). Forgejo sends the headers of Gitea beside its own.
"""

from __future__ import annotations

from ctrlplane_gitops.source.hook.delivery import Delivery, Event
from ctrlplane_gitops.source.hook.payload import (
    parse_form,
    parse_json,
    push_at,
    read_content_type,
    repository_at,
)
from ctrlplane_gitops.source.hook.request import Request, build_delivery
from ctrlplane_gitops.source.hook.signature import check_hex


def read_gitea(request: Request) -> Delivery:
    return _read(request, "X-Gitea")


def read_forgejo(request: Request) -> Delivery:
    """The headers of Gitea count where those of Forgejo are missing; a wrong
    ``X-Forgejo-Signature`` is wrong whatever stands in the other."""
    return _read(request, "X-Forgejo" if request.header("X-Forgejo-Signature") else "X-Gitea")


def _read(request: Request, prefix: str) -> Delivery:
    is_form = read_content_type(request, may_be_form=True)
    signed = parse_form(request.body) if is_form else request.body
    check_hex(request, f"{prefix}-Signature", signed)
    payload = parse_json(signed)
    name = request.event(f"{prefix}-Event")
    given_id = request.header(f"{prefix}-Delivery")
    if name != "push":
        return build_delivery(request, Event.OTHER, given_id, signed)
    return build_delivery(
        request, Event.PUSH, given_id, signed, repository_at(payload), push_at(payload)
    )
