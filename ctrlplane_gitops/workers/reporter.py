"""What became of each commit, told to the forge it was pushed to."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from datetime import datetime, timedelta

from ctrlplane_gitops.clock import Clock
from ctrlplane_gitops.errors import ForgeError
from ctrlplane_gitops.forge.base import CommitState, CommitStatus
from ctrlplane_gitops.reconcile.report import PassOutcome, PassReport
from ctrlplane_gitops.redact import one_line
from ctrlplane_gitops.value import replace, struct
from ctrlplane_gitops.workers.backoff import backoff
from ctrlplane_gitops.workers.worker import Ran

_BEGUN = "a pass is being made"
# With the waits of `backoff` some twenty minutes.
_MAX_ATTEMPTS = 10
_MAX_COMMITS = 200
_IDLE = timedelta(hours=1)

_GOOD = frozenset({PassOutcome.APPLIED, PassOutcome.UNCHANGED})
_UNDECIDED = frozenset({PassOutcome.LOCKED, PassOutcome.CANCELLED, PassOutcome.SUPERSEDED})

_Verdict = tuple[CommitState, str]


def verdict_of(report: PassReport) -> _Verdict | None:
    """State and description of a commit after a pass of it; None while there has to be another
    one."""
    if report.outcome in _UNDECIDED:
        return None
    note = one_line(report.notes[0]) if report.notes else ""
    if report.outcome is PassOutcome.WAITING:
        return CommitState.PENDING, note or "waits for promote"
    if report.outcome not in _GOOD:
        return CommitState.FAILURE, f"{report.outcome}: {note}" if note else str(report.outcome)
    if report.outcome is PassOutcome.UNCHANGED:
        return CommitState.SUCCESS, "nothing to change"
    return CommitState.SUCCESS, f"applied in {report.duration.total_seconds():.1f}s"


@struct
class _Due:
    """A status that is to be told at ``at``, after so many attempts that failed."""

    status: CommitStatus
    at: datetime
    attempts: int = 0


class Reporter:
    """``tell`` sets a status at the forge. ``read_context`` is the label of ours, ``url`` a page to
    look at, or "". ``wake`` is called when there is something to tell. ``begin``, ``end`` and
    ``settle`` are for any thread and never wait; ``run`` is for one."""

    def __init__(
        self,
        tell: Callable[[CommitStatus], None],
        read_context: Callable[[], str],
        url: str,
        clock: Clock,
        wake: Callable[[], None],
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._tell, self._read_context, self._url = tell, read_context, url
        self._clock, self._wake, self._chance = clock, wake, chance
        self._lock = threading.Lock()
        self._current = ""
        self._verdict: _Verdict = (CommitState.SUCCESS, "nothing to change")
        self._is_undecided = False
        # By commit: what was asked for last, and what is still to be told.
        self._asked: dict[str, _Verdict] = {}
        self._due: dict[str, _Due] = {}

    def begin(self, commit: str) -> None:
        """A pass of this commit begins. One of the same commit as before says nothing new."""
        with self._lock:
            before, self._current = self._current, commit
            if commit == before:
                return
            if self._asked.get(before, (None, ""))[0] is CommitState.PENDING:
                self._ask(before, (CommitState.CANCELLED, f"{commit[:12]} came after it"))
            self._ask(commit, (CommitState.PENDING, _BEGUN))
        self._wake()

    def end(self, report: PassReport) -> None:
        """A pass came to an end."""
        verdict = verdict_of(report)
        with self._lock:
            self._is_undecided = verdict is None
            if verdict is None:
                return
            self._verdict = verdict
            if not self._is_new(report.commit, verdict):
                return
            self._ask(report.commit, verdict)
        self._wake()

    def settle(self, commit: str) -> None:
        """No pass of this commit is to come: it says what the last one was about."""
        with self._lock:
            if self._is_undecided or not self._is_open(commit):
                return
            self._current = commit
            self._ask(commit, self._verdict)
        self._wake()

    def run(self) -> Ran:
        """Tell what is due; the error of the last one that was not taken."""
        error = ""
        for due in self._take_due():
            try:
                self._tell(due.status)
            except ForgeError as failure:
                error = self._put_off(due, failure)
        with self._lock:
            waits = [due.at - self._clock.now() for due in self._due.values()]
        return Ran(max(timedelta(), min([_IDLE, *waits])), error)

    def _is_open(self, commit: str) -> bool:
        asked = self._asked.get(commit)
        return asked is None or asked == (CommitState.PENDING, _BEGUN)

    def _is_new(self, commit: str, verdict: _Verdict) -> bool:
        """A state that is told again says nothing, but for what a rollout waits for: there are
        passes every minute."""
        asked = self._asked.get(commit)
        is_same = asked is not None and asked[0] is verdict[0]
        return bool(commit) and not (
            is_same and (verdict[0] is not CommitState.PENDING or asked == verdict)
        )

    def _ask(self, commit: str, verdict: _Verdict) -> None:
        """Under the lock. What was to be told of the commit before need not be told any more."""
        self._asked.pop(commit, None)
        self._asked[commit] = verdict
        if len(self._asked) > _MAX_COMMITS:
            del self._asked[next(iter(self._asked))]
        state, text = verdict
        status = CommitStatus(commit, state, text, self._read_context(), self._url)
        self._due[commit] = _Due(status, self._clock.now())

    def _take_due(self) -> list[_Due]:
        with self._lock:
            now = self._clock.now()
            taken = [due for due in self._due.values() if due.at <= now]
            for due in taken:
                del self._due[due.status.commit]
        return taken

    def _put_off(self, due: _Due, failure: ForgeError) -> str:
        """Once more later, unless that is of no use; what to say of it."""
        hint = f" ({failure.hint})" if failure.hint else ""
        attempts = due.attempts + 1
        if not failure.is_retryable or attempts >= _MAX_ATTEMPTS:
            return f"{failure.message}{hint}; it is left at that"
        at = self._clock.now() + backoff(attempts, self._chance())
        with self._lock:
            # Something newer may have come meanwhile.
            self._due.setdefault(due.status.commit, replace(due, at=at, attempts=attempts))
        return f"{failure.message}{hint}; it is tried again"
