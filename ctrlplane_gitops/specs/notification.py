"""``spec.notifications`` of the control plane: who is told of what happens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, StringConstraints

from ctrlplane_gitops.specs.analysis import Url
from ctrlplane_gitops.specs.credential import is_credential_name
from ctrlplane_gitops.specs.field import EVENT_TYPES, TENANTS, HeaderName, HeaderValue, Name
from ctrlplane_gitops.specs.model import Model, exactly_one, new
from ctrlplane_gitops.specs.problem import Field as Place
from ctrlplane_gitops.specs.problem import Problem, format_field
from ctrlplane_gitops.specs.rule import find_duplicates
from ctrlplane_gitops.specs.secret import SecretSource
from ctrlplane_gitops.specs.url import find_url_problems

EventTypes = Annotated[str, StringConstraints(pattern=EVENT_TYPES, max_length=64)]
Tenants = Annotated[str, StringConstraints(pattern=TENANTS, max_length=64)]

_CREDENTIALS = frozenset({"authorization", "cookie", "proxy-authorization"})
_OURS = frozenset(
    {"connection", "content-length", "content-type", "expect", "host", "transfer-encoding"}
)


class NotificationSpec(Model):
    model_config = ConfigDict(json_schema_extra=exactly_one("url", "urlFrom"))

    name: Name = Field(description="Name of the subscription, unique in the control plane.")
    url: Url | None = Field(default=None, description="Where messages are posted to.")
    url_from: SecretSource | None = Field(
        default=None, description="Where that URL is to be had, when it is a secret itself."
    )
    secret: SecretSource = Field(
        description="Where the key that messages are signed with is to be had: whsec_<base64>."
    )
    events: list[EventTypes] = Field(
        min_length=1, max_length=50, description="Types of events, with globs: rollout.*, *.failed."
    )
    tenants: list[Tenants] = Field(
        default_factory=lambda: ["*"],
        min_length=1,
        max_length=100,
        description="Tenants whose events are told, with globs; all, and what is nobody's, if "
        "left out.",
    )
    headers: dict[HeaderName, HeaderValue] = Field(
        default_factory=new(dict),
        max_length=20,
        description="Headers that go along; no credentials.",
    )

    def find_problems(self, where: Place) -> Iterator[Problem]:
        """``where`` is the subscription's place below the spec."""
        shown = format_field(("spec", *where))
        if (self.url is None) == (self.url_from is None):
            state = "none" if self.url is None else "both"
            summary = f"{shown} needs exactly one of url and urlFrom, and has {state}"
            yield Problem("wrong-choice", summary, field=where)
        if self.url is not None:
            yield from find_url_problems(self.url, (*where, "url"))
            if _is_metadata(self.url):
                summary = f"{shown}.url is a link-local or metadata address, which is refused"
                yield Problem("wrong-value", summary, field=(*where, "url"))
        for name, source in (("secret", self.secret), ("urlFrom", self.url_from)):
            if source is not None and (source.env is None) == (source.file is None):
                state = "none" if source.env is None else "both"
                summary = f"{shown}.{name} needs exactly one of env and file, and has {state}"
                yield Problem("wrong-choice", summary, field=(*where, name))
        yield from self._check_headers(where, shown)

    def _check_headers(self, where: Place, shown: str) -> Iterator[Problem]:
        for name in self.headers:
            place = (*where, "headers", name)
            if name.lower() in _CREDENTIALS or is_credential_name(name):
                summary = f"{shown}.headers.{name} is a credential in clear"
                hint = "messages are signed; a receiver that wants a token takes it by urlFrom"
                yield Problem("clear-secret", summary, hint, place)
            elif name.lower() in _OURS or name.lower().startswith("webhook-"):
                summary = f"{shown}.headers.{name} is a header of our own"
                yield Problem("wrong-key", summary, "leave it out", place)


def find_notification_problems(items: list[NotificationSpec]) -> Iterator[Problem]:
    """What is wrong with all of them."""
    yield from find_duplicates([item.name for item in items], ("notifications",), "name", "name")
    for index, item in enumerate(items):
        yield from item.find_problems(("notifications", index))


def _is_metadata(url: str) -> bool:
    """Whether the host is written as such an address; a name is looked at when it is used."""
    import ipaddress

    try:
        address = ipaddress.ip_address(urlsplit(url).hostname or "")
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return address.is_link_local
