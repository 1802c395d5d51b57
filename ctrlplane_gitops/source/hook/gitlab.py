"""GitLab.

Sources: https://docs.gitlab.com/user/project/integrations/webhooks/ (secret token, signing token,
delivery headers) and https://docs.gitlab.com/user/project/integrations/webhook_events/ (payloads).

- A secret token comes in ``X-Gitlab-Token`` as it is: it proves who sent, not what.
- A signing token (``whsec_``) signs by Standard Webhooks; introduced by
  https://gitlab.com/gitlab-org/gitlab/-/merge_requests/230944. Where one is configured here, a
  request that carries a signature is judged by it alone, token or not; while hooks are moved from
  one to the other, both may be configured.
- ``Idempotency-Key`` stays the same when a delivery is tried again, and ``webhook-id`` is equal to
  it. ``X-Gitlab-Event-UUID`` is no id: hooks that an earlier one has set off share it.
"""

from __future__ import annotations

from ctrlplane_gitops.source.hook.delivery import Delivery, Event
from ctrlplane_gitops.source.hook.payload import (
    Payload,
    parse_json,
    push_at,
    read_content_type,
    text_at,
    to_urls,
)
from ctrlplane_gitops.source.hook.request import Request, build_delivery
from ctrlplane_gitops.source.hook.signature import check_standard, check_token

_PUSHES = ("Push Hook", "Tag Push Hook")
_SYSTEM_PUSHES = ("push", "tag_push")


def read_gitlab(request: Request) -> Delivery:
    signed_id = check_standard(request)
    if not signed_id:
        check_token(request, "X-Gitlab-Token")
    read_content_type(request)
    payload = parse_json(request.body)
    event = _read_event(request.event("X-Gitlab-Event"), payload)
    given_id = signed_id or request.header("Idempotency-Key")
    if event is Event.OTHER:
        return build_delivery(request, event, given_id, request.body)
    keys = ("git_http_url", "git_ssh_url")
    urls = to_urls(*(text_at(payload, "project", key) for key in keys))
    return build_delivery(request, event, given_id, request.body, urls, push_at(payload))


def _read_event(name: str, payload: Payload) -> Event:
    """The hooks of an administrator all come as ``System Hook`` and say what they are inside."""
    if name == "System Hook":
        is_push = text_at(payload, "event_name") in _SYSTEM_PUSHES
    else:
        is_push = name in _PUSHES
    return Event.PUSH if is_push else Event.OTHER
