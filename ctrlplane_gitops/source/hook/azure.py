"""Azure DevOps service hooks.

Sources: https://learn.microsoft.com/en-us/azure/devops/service-hooks/services/webhooks (basic
authentication, how much of the resource is sent) and
https://learn.microsoft.com/en-us/azure/devops/service-hooks/events (``git.push``). Nothing is
signed: the password proves who sent, not what. The secret is the password. A hook that is tried by
hand sends an example of its event. With fewer details than all of them, the refs are missing.
"""

from __future__ import annotations

from ctrlplane_gitops.source.hook.delivery import Delivery, Event
from ctrlplane_gitops.source.hook.payload import (
    objects_at,
    only_push,
    parse_json,
    read_content_type,
    text_at,
    to_push,
    to_urls,
)
from ctrlplane_gitops.source.hook.request import Request, build_delivery, malformed
from ctrlplane_gitops.source.hook.signature import check_password


def read_azure(request: Request) -> Delivery:
    check_password(request)
    read_content_type(request)
    payload = parse_json(request.body)
    name = text_at(payload, "eventType")
    if not name:
        raise malformed("eventType of the payload is missing")
    given_id = text_at(payload, "id")
    if name != "git.push":
        return build_delivery(request, Event.OTHER, given_id, request.body)
    repository = ("resource", "repository")
    urls = to_urls(*(text_at(payload, *repository, key) for key in ("remoteUrl", "sshUrl")))
    pushes = [
        to_push(*(text_at(item, key) for key in ("name", "oldObjectId", "newObjectId")))
        for item in objects_at(payload, "resource", "refUpdates")
    ]
    return build_delivery(request, Event.PUSH, given_id, request.body, urls, only_push(pushes))
