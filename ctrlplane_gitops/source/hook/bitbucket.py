"""Bitbucket Cloud and Bitbucket Data Center.

Sources: https://support.atlassian.com/bitbucket-cloud/docs/manage-webhooks/ and
https://support.atlassian.com/bitbucket-cloud/docs/event-payloads/ for the Cloud;
https://confluence.atlassian.com/bitbucketserver/event-payload-938025882.html and
https://confluence.atlassian.com/bitbucketserver/manage-webhooks-938025878.html for Data Center.
Both send ``X-Hub-Signature``, here ``sha256=`` and the HMAC of the body, and ``X-Event-Key``. The
id is ``X-Request-UUID`` (Cloud) or ``X-Request-Id`` (Data Center). One delivery may be about
several refs. The Cloud names no clone URL: that of the page is one as well.
"""

from __future__ import annotations

from ctrlplane_gitops.source.hook.delivery import Delivery, Event, Push
from ctrlplane_gitops.source.hook.payload import (
    Payload,
    objects_at,
    only_push,
    parse_json,
    read_content_type,
    text_at,
    to_push,
    to_urls,
    value_at,
)
from ctrlplane_gitops.source.hook.request import Request, build_delivery, malformed
from ctrlplane_gitops.source.hook.signature import check_hex

_FOLDERS = {"branch": "refs/heads/", "named_branch": "refs/heads/", "tag": "refs/tags/"}


def read_bitbucket(request: Request) -> Delivery:
    check_hex(request, "X-Hub-Signature", request.body, "sha256=")
    read_content_type(request)
    payload = parse_json(request.body)
    key = request.event("X-Event-Key")
    given_id = request.header("X-Request-UUID", "X-Request-Id")
    if key == "repo:push":
        pushes = [_read_cloud(item) for item in objects_at(payload, "push", "changes")]
    elif key == "repo:refs_changed":
        pushes = [_read_data_center(item) for item in objects_at(payload, "changes")]
    else:
        event = Event.PING if key == "diagnostics:ping" else Event.OTHER
        return build_delivery(request, event, given_id, request.body)
    urls = _read_urls(payload)
    return build_delivery(request, Event.PUSH, given_id, request.body, urls, only_push(pushes))


def _read_cloud(change: Payload) -> Push:
    """``new`` is null for what was deleted, ``old`` for what is new."""
    side = "old" if value_at(change, "new") is None else "new"
    name = text_at(change, side, "name")
    folder = _FOLDERS.get(text_at(change, side, "type"))
    if folder is None or not name:
        return Push()
    before, after = (text_at(change, side, "target", "hash") for side in ("old", "new"))
    return to_push(folder + name, before, after)


def _read_data_center(change: Payload) -> Push:
    return to_push(
        text_at(change, "ref", "id"), text_at(change, "fromHash"), text_at(change, "toHash")
    )


def _read_urls(payload: Payload) -> tuple[str, ...]:
    links = value_at(payload, "repository", "links")
    if links is None:
        return ()
    if not isinstance(links, dict):
        raise malformed("repository.links of the payload cannot be read")
    clones = [text_at(item, "href") for item in objects_at(links, "clone")]
    return to_urls(*clones, text_at(links, "html", "href"))
