"""What every verb is given, and the steps several verbs begin with."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ctrlplane_gitops.app import App, Where, certifier, open_app
from ctrlplane_gitops.cli.terminal import Terminal
from ctrlplane_gitops.clock import Clock
from ctrlplane_gitops.config import load_settings, store_location
from ctrlplane_gitops.diagnostics import has_errors
from ctrlplane_gitops.errors import GuardError, SpecError
from ctrlplane_gitops.reconcile.gather import Wanted, gather_documents, is_empty, resolve_wanted
from ctrlplane_gitops.state.desired import ControlPlane, DesiredState
from ctrlplane_gitops.store.base import Store
from ctrlplane_gitops.store.registry import open_store
from ctrlplane_gitops.value import field, struct


@struct
class Context:
    """``options`` has the value of every flag of the verb by its ``dest``, and of the verb's
    arguments by their name. What is put into ``built`` lives as long as the command."""

    options: Mapping[str, Any]
    environ: Mapping[str, str]
    terminal: Terminal
    clock: Clock
    cancel: threading.Event
    on_effect: Callable[[str], None]
    built: list[object] = field(default_factory=list)

    @property
    def format(self) -> str:
        return "json" if self.options.get("json") else self.options.get("format", "text")


@contextmanager
def opened(context: Context, **where: str | None) -> Iterator[App]:
    """The app for the block. ``where`` overrides the flags ``repo`` and ``ref``."""
    options = context.options
    repo = where.get("repo") or options["repo"] or options["chdir"]
    ref = where.get("ref") or options["ref"]
    settings = load_settings(context.environ)
    with open_app(
        settings, context.environ, context.clock, Where(repo, ref), context.cancel,
        context.on_effect,
    ) as app:  # fmt: skip
        yield app


def gather(
    app: App,
    *,
    has_secrets: bool = True,
    on_plane: Callable[[ControlPlane], None] = lambda plane: None,
) -> Wanted:
    """The desired state with secrets resolved; with ``has_secrets`` False they are taken as
    present, and nobody's value is read."""
    wanted = gather_documents(app.source, app.cache, on_plane)
    if not has_secrets:
        return resolve_wanted(wanted, None)
    return resolve_wanted(wanted, app.backends, certifier(app))


def gather_for_change(
    context: Context,
    app: App,
    *,
    is_destroy: bool = False,
    on_plane: Callable[[ControlPlane], None] = lambda plane: None,
) -> Wanted:
    """The same for verbs that could remove something: where there is nothing at all, nothing is
    done. GuardError, because an emptied repo and a wrong folder look alike. ``is_destroy``: no
    secret is needed."""
    require_folder(context)
    wanted = gather(app, has_secrets=not is_destroy, on_plane=on_plane)
    if is_empty(wanted):
        options = context.options
        place = options["repo"] or options["chdir"]
        where = f"{place} at {options['ref']}" if options["ref"] else place
        hint = "check --chdir, --repo and --ref"
        raise GuardError(
            f"there are no specs in {where}, so nothing is done",
            hint=hint if is_destroy else f"{hint}; to remove everything use destroy",
        )
    return wanted


def require_folder(context: Context) -> None:
    """GuardError where the folder of the specs is not there."""
    options = context.options
    if options["repo"] is None and not Path(options["chdir"]).exists():
        raise GuardError(
            f"{options['chdir']} does not exist, so nothing is done", hint="check --chdir"
        )


def require_desired(context: Context, wanted: Wanted) -> DesiredState:
    """The desired state; SpecError after showing why there is none."""
    if wanted.desired is None:
        context.terminal.diagnose(wanted.diagnostics)
        raise invalid_specs(wanted)
    return wanted.desired


def invalid_specs(wanted: Wanted, hint: str | None = None) -> SpecError:
    """``2 errors in the specs``."""
    count = sum(1 for item in wanted.diagnostics if item.is_error)
    return SpecError(f"{count} error{'' if count == 1 else 's'} in the specs", hint=hint)


def is_valid(wanted: Wanted) -> bool:
    return not has_errors(wanted.diagnostics)


def note_errors(context: Context, wanted: Wanted) -> None:
    """For verbs that go on without the tenants that are broken."""
    if not is_valid(wanted):
        error = invalid_specs(wanted)
        context.terminal.note(f"warning: {error.message}; ctrlplane-gitops validate lists them")


def require_plane(context: Context, wanted: Wanted) -> ControlPlane:
    """The control plane, for verbs that need no more of the specs to be sound."""
    if wanted.plane is None:
        context.terminal.diagnose(wanted.diagnostics)
        raise SpecError(
            "no control plane is described here",
            hint="give the folder of the specs with --chdir, or begin with ctrlplane-gitops init",
        )
    return wanted.plane


@contextmanager
def opened_store(context: Context) -> Iterator[Store]:
    """The store of the control plane, read only, for verbs that look at nothing else."""
    with opened(context) as app:
        plane = require_plane(context, gather_documents(app.source, app.cache))
        location = store_location(app.settings, plane.name, plane.store)
        store = open_store(location, is_read_only=True)
        try:
            yield store
        finally:
            store.close()
