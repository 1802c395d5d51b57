"""Parameters of queries: what they mean, and how they are read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from werkzeug.datastructures import MultiDict

from ctrlplane_gitops.api.errors import Refusal
from ctrlplane_gitops.api.route import Parameter, Route
from ctrlplane_gitops.status.paging import MAX_LIMIT, Page

MAX_TEXT = 1024
_TEXT = {"type": "string", "maxLength": MAX_TEXT}
# Of SQLite, which counts the rows of a log.
_MAX_NUMBER = 2**63 - 1


def parse_natural(most: int, least: int = 0) -> Any:
    """A parser of whole numbers.

    >>> parse_natural(5)("5")
    5
    """

    def parse(text: str) -> int:
        is_number = text.isascii() and text.isdigit() and len(text) < 20
        if not is_number or not least <= int(text) <= most:
            raise ValueError(f"is not a whole number from {least} to {most}")
        return int(text)

    return parse


def parse_flag(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("is neither true nor false")
    return text == "true"


def parse_moment(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
        if at.tzinfo is not None:
            return at.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise ValueError("is not a moment such as 2026-01-31T12:00:00Z")


def natural(name: str, help: str, most: int = _MAX_NUMBER, least: int = 0) -> Parameter:
    schema = {"type": "integer", "minimum": least, "maximum": most}
    return Parameter(name, help, schema, parse_natural(most, least))


def text(name: str, help: str) -> Parameter:
    return Parameter(name, help, _TEXT)


def flag(name: str, help: str) -> Parameter:
    return Parameter(name, help, {"type": "boolean"}, parse_flag)


def moment(name: str, help: str) -> Parameter:
    return Parameter(name, help, {"type": "string", "format": "date-time"}, parse_moment)


def choice(name: str, help: str, values: Iterable[str]) -> Parameter:
    known = [str(item) for item in values]

    def parse(text: str) -> str:
        if text not in known:
            raise ValueError(f"is not one of {', '.join(known)}")
        return text

    return Parameter(name, help, {"type": "string", "enum": known}, parse)


TENANT = text("tenant", "Only of this tenant.")
INSTANCE = text("instance", "Only of the instances of this name.")
LABEL = text("label", "Only with these labels: name=value or name, joined by commas.")
PAGE = (
    Parameter(
        "limit",
        "At most so many rows.",
        {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": Page().limit},
        parse_natural(MAX_LIMIT, 1),
    ),
    text("cursor", "'next' of the page before: the rows after it."),
)


def parse_query(route: Route, given: MultiDict[str, str]) -> Mapping[str, Any]:
    """The value of every parameter that was given; Refusal (400) for one that the path does not
    take, that is given twice or means nothing."""
    known = {item.name: item for item in route.query}
    found: dict[str, Any] = {}
    for name, values in given.lists():
        if name not in known:
            takes = ", ".join(sorted(known)) or "none"
            raise _refuse(f"there is no parameter {name[:60]!r} here; there are: {takes}")
        if len(values) != 1:
            raise _refuse(f"{name} is given more than once")
        if len(values[0]) > MAX_TEXT:
            raise _refuse(f"{name} is longer than {MAX_TEXT} characters")
        try:
            found[name] = known[name].parse(values[0])
        except ValueError as error:
            raise _refuse(f"{name} {error}") from None
    return found


def page_of(query: Mapping[str, Any]) -> Page:
    return Page(query.get("limit", Page().limit), query.get("cursor", ""))


def _refuse(detail: str) -> Refusal:
    return Refusal(400, "bad-parameter", detail)
