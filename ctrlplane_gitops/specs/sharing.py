"""Equal parts of documents, once. Of thousands most say the same in most places: what Git says of
30,000 instances takes half the space, and half the time to be loaded from the parse cache, which
keeps what is shared as such. So nobody may change any of it."""

from __future__ import annotations

import marshal
from typing import Any, TypeVar

# Names, hosts and the like are nobody else's, and would be kept for nothing.
_MOST = 20_000
# A writer of references would write equal values in two ways.
_PLAIN = 2
_known: dict[Any, Any] = {}
T = TypeVar("T")


def share(value: T) -> T:
    """An equal value that was given before, or this one. It is a JSON value."""
    if len(_known) >= _MOST:
        _known.clear()
    kind = type(value)
    if kind is dict or kind is list:
        plain: Any = value
        found: T = _known.setdefault(marshal.dumps(plain, _PLAIN), value)
        return found
    return _known.setdefault(value, value) if kind is str else value


def share_parts(value: dict[str, Any]) -> dict[str, Any]:
    """The same, with its parts shared.

    >>> first, second = (share_parts({"name": name, "files": []}) for name in "ab")
    >>> first["files"] is second["files"]
    True
    """
    for name, part in value.items():
        value[name] = share(part)
    return value
