"""What is said and counted of passes, looks and runs: everything once."""

from __future__ import annotations

from datetime import timedelta

from ctrlplane_gitops.api.metrics import Metrics
from ctrlplane_gitops.reconcile.look import Look
from ctrlplane_gitops.reconcile.report import PassOutcome, PassReport
from ctrlplane_gitops.serving.output import Output
from ctrlplane_gitops.workers import cert_renewer, garbage_collector
from ctrlplane_gitops.workers.worker import Ran


class Narrator:
    """``told`` are the workers whose errors somebody else tells of."""

    def __init__(self, output: Output, metrics: Metrics, told: frozenset[str]) -> None:
        self._log, self._metrics, self._told = output.log, metrics, told
        self._last_pass: tuple[PassOutcome | None, tuple[str, ...]] = (None, ())
        self._has_seen = False
        self._source_error = ""
        self._run_errors: dict[str, str] = {}

    def take_pass(self, report: PassReport) -> None:
        self._metrics.count_pass(report)
        is_known = (report.outcome, report.notes) == self._last_pass
        if report.outcome is not PassOutcome.UNCHANGED or not is_known:
            scope = "everything" if report.is_whole else "what changed"
            commit = report.commit[:12] or "no commit"
            seconds = report.duration.total_seconds()
            self._log(
                f"pass {report.outcome}: {commit}, {scope}, {report.effects} effects "
                f"in {seconds:.1f}s"
            )
        if not is_known:
            for text in report.notes:
                self._log(f"note {text}")
        self._last_pass = (report.outcome, report.notes)

    def take_beginning(self, seen: Look) -> None:
        """A pass has begun to do what it saw was to be done."""
        self._has_seen |= not seen.is_blind

    def take_look(self, error: str) -> None:
        """A look at the source, and why it failed ("" where not)."""
        self._metrics.count_look(error)
        if error and error != self._source_error:
            self._log(f"source: {error}; what it said last stays in force")
        elif self._source_error and not error:
            self._log("source: it answers again")
        self._source_error = error

    def take_run(self, name: str, ran: Ran) -> None:
        self._metrics.count_run(name, bool(ran.error))
        if name == garbage_collector.NAME:
            self._metrics.count_collected(ran.counts)
        elif name == cert_renewer.NAME:
            self._metrics.count_renewed(ran.counts.get("renewed", 0))
        # What passes and looks came to is told by them; what nobody expected is told here.
        is_told = name in self._told and not ran.error.startswith("a bug")
        if ran.error and not is_told and ran.error != self._run_errors.get(name):
            self._log(f"worker {name}: {ran.error}")
        self._run_errors[name] = ran.error

    def take_overdue(self, name: str, duration: timedelta) -> None:
        self._metrics.count_overdue(name)
        self._log(f"worker {name}: has been at it for {int(duration.total_seconds())}s")

    def find_unready(self) -> str:
        """Why nobody could yet see all there is and begin to do what it takes; "" once somebody
        could."""
        if self._has_seen:
            return ""
        outcome, notes = self._last_pass
        if outcome is None:
            return f"the first pass has not begun yet{_because(self._source_error)}"
        return f"no pass has succeeded yet; the last one: {outcome}{_because(*notes[:1])}"


def _because(*reasons: str) -> str:
    return "".join(f": {reason}" for reason in reasons if reason)
