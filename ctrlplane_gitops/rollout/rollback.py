"""What a failure leads to: back to the active release, or the end."""

from __future__ import annotations

from ctrlplane_gitops.rollout.census import available_in, replicas_of
from ctrlplane_gitops.rollout.view import RolloutView, StepDecision
from ctrlplane_gitops.state.recorded import RolloutPhase, RolloutStatus
from ctrlplane_gitops.value import replace


def return_release(view: RolloutView) -> int | None:
    """The release a failed rollout goes back to: never the one that failed."""
    return view.active if view.active != view.target else None


def fail(
    view: RolloutView,
    status: RolloutStatus,
    cause: str,
    *,
    is_asked: bool = False,
    is_judged: bool = False,
) -> StepDecision:
    """Turn back or give up. Neither has steps: the decision is recorded before the first effect
    of a rollback, so a crash in between only makes it again. ``is_asked``: a person wants it, so
    there is nothing to weigh. ``is_judged``: what serves was found bad, so that it serves is no
    reason to keep it."""
    back = return_release(view)
    is_useful = is_judged or not _is_pointless(view)
    is_wanted = is_asked or (view.params.is_auto_rollback and is_useful)
    if back is None or not is_wanted:
        return give_up(status, f"{_title(view)} failed: {cause}{_what_is_left(view)}")
    turned = replace(
        status,
        phase=RolloutPhase.ROLLING_BACK,
        previous=back,
        progress_at=view.now,
        best_available=0,
        step=0,
        step_at=None,
        message=f"rolling back v{view.target} -> v{back}: {cause}",
    )
    return StepDecision((), turned)


def give_up(status: RolloutStatus, message: str) -> StepDecision:
    failed = replace(status, phase=RolloutPhase.FAILED, message=message)
    return StepDecision((), failed, is_done=True)


def fail_back(view: RolloutView, status: RolloutStatus, cause: str) -> StepDecision:
    """The rollback itself does not get there; everything stays as it is."""
    first = _cause_of(status)
    reason = f" (it was rolled back because {first})" if first else ""
    return give_up(status, f"rollback v{view.target} -> v{view.active} failed: {cause}{reason}")


def finish_back(view: RolloutView, status: RolloutStatus) -> StepDecision:
    """The active release runs alone again."""
    cause = _cause_of(status)
    message = f"rolled back v{view.target} -> v{view.active}" + (f": {cause}" if cause else "")
    return StepDecision(
        (), replace(status, phase=RolloutPhase.ROLLED_BACK, message=message), is_done=True
    )


def _is_pointless(view: RolloutView) -> bool:
    """Nothing is to run, or all of the target serves and only the old is not gone yet."""
    return len(available_in(view, replicas_of(view, view.target))) >= view.replicas


def _title(view: RolloutView) -> str:
    return f"v{view.target}" if view.active != view.target else f"repair of v{view.target}"


def _what_is_left(view: RolloutView) -> str:
    if view.active is None:
        return "; its replicas are left for inspection"
    if view.active != view.target and not view.params.is_auto_rollback:
        return "; automatic rollback is off, so everything stays as it is"
    return ""


def _cause_of(status: RolloutStatus) -> str:
    return status.message.partition(": ")[2]
