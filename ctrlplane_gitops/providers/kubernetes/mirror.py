"""What lists and a watch have shown of one collection, and whether that is what there is now.

Rows are kept, not objects. Versions are those of the API server, of one kind each: it never tells
how those of two kinds compare.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from ctrlplane_gitops.clock import monotonic_s
from ctrlplane_gitops.cluster.api import Api, Listing, Write, identity, read_version
from ctrlplane_gitops.cluster.failure import ApiError
from ctrlplane_gitops.cluster.resource import ResourceType
from ctrlplane_gitops.cluster.watch import WatchEvent, WatchType
from ctrlplane_gitops.value import field, replace, struct

Row = TypeVar("Row")
_REFUSED = (403, 404)
# What was missed comes first and at once when a watch is opened.
_SETTLING_S = 0.25
# How long our own write may take to come back by the watch before everything is listed.
_PATIENCE_S = 1.0


def _nothing() -> None:
    """There is nothing to be cut."""


@struct
class Selection(Generic[Row]):
    """Objects of one kind that carry ``labels``, of which ``read`` takes what we look at.
    ``is_meta``: their metadata is all that is asked for. ``is_optional``: where we may not look at
    them, or nobody has such a kind, there are none of ours."""

    kind: ResourceType
    labels: Mapping[str, str]
    read: Callable[[Mapping[str, Any]], Row]
    is_meta: bool = False
    is_optional: bool = False

    def is_met_by(self, item: Mapping[str, Any]) -> bool:
        """Whether it is one of them."""
        found = item["metadata"].get("labels") or {}
        return all(
            name in found and value in ("", found[name]) for name, value in self.labels.items()
        )

    def list(
        self, api: Api, labels: Mapping[str, str] | None = None, namespace: str | None = None
    ) -> Listing[Row]:
        """All of it, or with more ``labels`` a part."""
        try:
            return api.list_all(
                self.kind,
                {**self.labels, **(labels or {})},
                self.read,
                namespace=namespace,
                is_meta=self.is_meta,
            )
        except ApiError as error:
            if self.is_optional and error.status in _REFUSED:
                return Listing({}, 0)
            raise


class RewoundError(Exception):
    """Versions have gone back: this is not the history that was followed until now."""


@struct
class _Entry(Generic[Row]):
    uid: str
    is_going: bool
    row: Row


@struct
class _Owed:
    """What has to be seen before the rows say what there is. ``version``: of our own last write.
    ``ends``: objects by identity that are going, or have to be gone (True). ``is_list``: nothing
    less than a new list will do."""

    version: int = 0
    ends: Mapping[str, bool] = field(default_factory=dict)
    is_list: bool = False


@struct
class Change(Generic[Row]):
    """Before and after; None where there was none, or is none any more."""

    before: Row | None
    after: Row | None


class Mirror(Generic[Row]):
    """For several threads. ``trouble`` is why it cannot be watched, "" where it can."""

    def __init__(self, selection: Selection[Row]) -> None:
        self.selection = selection
        self.trouble = ""
        self._keyed: Selection[_Entry[Row]] = Selection(
            selection.kind,
            selection.labels,
            self._read_entry,
            selection.is_meta,
            selection.is_optional,
        )
        self._condition = threading.Condition()
        self._listing = threading.Lock()
        self._rows: dict[tuple[str, str], _Entry[Row]] = {}
        self._version = 0
        self._owed = _Owed()
        self._cut: Callable[[], None] = _nothing
        # When the watch was opened that tells what comes after the version; None: there is none.
        self._opened_s: float | None = None
        # What has to be reached after a break.
        self._floor = 0

    @property
    def version(self) -> int:
        """Everything up to it is in the rows; 0: nothing is known."""
        return self._version

    def await_list(self, patience_s: float) -> None:
        """Until somebody has listed it, but no longer than that."""
        with self._condition:
            self._condition.wait_for(lambda: self._version > 0, patience_s)

    def _read_entry(self, item: Mapping[str, Any]) -> _Entry[Row]:
        metadata = item["metadata"]
        is_going = "deletionTimestamp" in metadata
        return _Entry(str(metadata["uid"]), is_going, self.selection.read(item))

    def read(self) -> tuple[Row, ...] | None:
        """The rows, where they are what there is now. None: only a list can tell.

        What we have written before is waited for; it comes by the watch."""
        deadline = monotonic_s() + _PATIENCE_S
        with self._condition:
            owed = self._owed
            while not owed.is_list:
                wait_s = self._find_wait(owed, deadline)
                if wait_s is None:
                    break
                if not wait_s:
                    self._settle(owed)
                    return tuple(entry.row for entry in self._rows.values())
                self._condition.wait(wait_s)
        return None

    def _find_wait(self, owed: _Owed, deadline: float) -> float | None:
        """0: nothing is to be waited for; None: waiting does not help."""
        now = monotonic_s()
        if self._opened_s is None or self._version < self._floor:
            return None
        settling = self._opened_s + _SETTLING_S - now
        if settling > 0:
            return settling
        if self._version >= owed.version and not self._has_any(owed.ends):
            return 0.0
        return deadline - now if now < deadline else None

    def _has_any(self, ends: Mapping[str, bool]) -> bool:
        """Whether any of them is there that should be gone, or stays that should be going."""
        return bool(ends) and any(
            entry.uid in ends and (ends[entry.uid] or not entry.is_going)
            for entry in self._rows.values()
        )

    def _settle(self, owed: _Owed) -> None:
        """That much was seen."""
        if owed.ends:
            self._owed = replace(self._owed, ends=_without(self._owed.ends, owed.ends))

    def refresh(self, api: Api) -> tuple[Row, ...]:
        """A new list, which takes the place of what was known. Raises what listing raises."""
        with self._listing:
            with self._condition:
                owed, version = self._owed, self._version
            found = self._keyed.list(api)
            with self._condition:
                self._take_list(found, owed, version)
                return tuple(entry.row for entry in self._rows.values())

    def _take_list(self, found: Listing[_Entry[Row]], before: _Owed, version: int) -> None:
        """``before`` and ``version`` are of when it was begun."""
        owed = self._owed
        is_rewound = found.version < max(version, before.version)
        if is_rewound:
            # What we wrote then is of a history that is no more, and so is what is watched.
            self._end()
        if is_rewound or found.version >= self._version or self._opened_s is None:
            self._rows, self._version = dict(found.rows), found.version
        # What came to be owed while it was listed is still to be seen.
        self._owed = _Owed(
            0 if is_rewound and owed.version == before.version else owed.version,
            _without(owed.ends, before.ends),
            owed.is_list and owed is not before,
        )
        self._condition.notify_all()

    def _end(self) -> None:
        self._opened_s = None
        cut, self._cut = self._cut, _nothing
        cut()
        self._condition.notify_all()

    def open(self, cut: Callable[[], None], floor: int = 0) -> None:
        """A watch tells everything after ``version`` from now on, until it is ``cut``. ``floor``:
        what there is now is known only once it has come this far."""
        with self._condition:
            self._opened_s, self._floor, self._cut = monotonic_s(), floor, cut
            self.trouble = ""

    def close(self) -> None:
        """Nobody tells anything any more."""
        with self._condition:
            self._end()

    def forget(self) -> None:
        """None of it says anything about what there is now."""
        with self._condition:
            self._rows, self._version, self._owed = {}, 0, _Owed()
            self._end()

    def take(self, event: WatchEvent) -> Change[Row] | None:
        """What an event has changed of the rows. RewoundError where it is not of the history that
        is known."""
        with self._condition:
            if self._opened_s is None:
                raise RewoundError
            if event.version <= self._version:
                # A list made meanwhile has it already.
                return None
            self._version = event.version
            change = self._change(event)
            self._condition.notify_all()
        return change if change is not None and change.before != change.after else None

    def _change(self, event: WatchEvent) -> Change[Row] | None:
        if event.type is WatchType.BOOKMARK:
            return None
        key = identity(event.object)
        known = self._rows.get(key)
        before = None if known is None else known.row
        if event.type is WatchType.DELETED:
            self._rows.pop(key, None)
            return Change(before, None)
        self._rows[key] = self._keyed.read(event.object)
        return Change(before, self._rows[key].row)

    def owe(self, write: Write) -> None:
        """We have written this: it has to be seen."""
        made = write.object
        if made is None:
            with self._condition:
                self._owed = replace(self._owed, is_list=True)
        elif write.is_end:
            said = made.get("metadata") or {}
            uid = said.get("uid") or (made.get("details") or {}).get("uid")
            self.owe_end(str(uid), is_whole=False) if uid else self.owe(Write(write.kind, None))
        elif self.selection.is_met_by(made):
            with self._condition:
                version = max(self._owed.version, read_version(made))
                self._owed = replace(self._owed, version=version)

    def owe_end(self, uid: str, *, is_whole: bool) -> None:
        """It has been told to go, or was seen to be gone (``is_whole``)."""
        with self._condition:
            if self._has_any({uid: is_whole}):
                self._owed = replace(self._owed, ends={**self._owed.ends, uid: is_whole})


def _without(ends: Mapping[str, bool], seen: Mapping[str, bool]) -> dict[str, bool]:
    return {uid: is_whole for uid, is_whole in ends.items() if seen.get(uid) is not is_whole}
