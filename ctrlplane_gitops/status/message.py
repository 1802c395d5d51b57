"""What was told to others, and what came of it."""

from __future__ import annotations

from ctrlplane_gitops.state.log import tenant_of
from ctrlplane_gitops.state.notification import Message, MessageState
from ctrlplane_gitops.status.paging import Listing, Page, parse_number
from ctrlplane_gitops.status.row import MessageRow
from ctrlplane_gitops.store.base import Store
from ctrlplane_gitops.store.outbox import MessageFilter
from ctrlplane_gitops.value import struct


@struct
class MessageWhere:
    """What the messages are narrowed to; "" says nothing. One that is nobody's state has none."""

    subscription: str = ""
    state: str = ""
    address: str = ""


def list_messages(store: Store, where: MessageWhere, page: Page) -> Listing[MessageRow]:
    """The newest first."""
    if where.state and where.state not in set(MessageState):
        return Listing(())
    asked = MessageFilter(
        where.subscription or None,
        MessageState(where.state) if where.state else None,
        where.address or None,
    )
    before = parse_number(page.cursor)
    found = store.outbox.read_messages(asked, before=before, limit=page.limit + 1)
    items = tuple(message_row(item) for item in found[: page.limit])
    return Listing(items, str(items[-1].number) if len(found) > page.limit else None)


def message_row(item: Message) -> MessageRow:
    return MessageRow(
        item.number,
        item.id,
        item.subscription,
        item.event,
        item.type,
        item.address,
        tenant_of(item.address),
        item.state.value,
        item.created_at,
        item.attempts,
        item.next_at,
        item.status,
        item.error or None,
        item.ended_at,
    )
