"""``status`` and ``get``: what is, and what is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from fnmatch import fnmatchcase

from ctrlplane_gitops.app import App, open_plane
from ctrlplane_gitops.cli.context import (
    Context,
    gather,
    note_errors,
    opened,
    require_desired,
    require_plane,
)
from ctrlplane_gitops.cli.exit_codes import ExitCode
from ctrlplane_gitops.errors import UsageError
from ctrlplane_gitops.reconcile.observe import observe_all
from ctrlplane_gitops.redact import one_line
from ctrlplane_gitops.secrets.registry import resolve_all
from ctrlplane_gitops.state.desired import DesiredResource, DesiredState
from ctrlplane_gitops.state.key import Kind, ResourceKey
from ctrlplane_gitops.status.read import read_live
from ctrlplane_gitops.status.render import render_status, status_as_json
from ctrlplane_gitops.status.table import render_table


def run_status(context: Context) -> ExitCode:
    """Every instance with its phase, replicas, endpoints and conditions, probed now."""
    with opened(context) as app:
        wanted = gather(app, has_secrets=False)
        spec = require_plane(context, wanted)
        with open_plane(app, spec, is_read_only=True) as plane:
            observed = observe_all(plane.providers, app.looks, router=plane.router)
            document = read_live(
                spec.name, wanted.snapshot.commit, wanted.desired, plane.store.load_state(),
                observed, plane.providers, app.probes, context.clock.now(),
                _find_ends(app, wanted.desired),
            ).document  # fmt: skip
    note_errors(context, wanted)
    for gap in observed.gaps:
        text = f"warning: provider {gap.provider} did not answer: {gap.reason}"
        context.terminal.note(one_line(text))
    if context.format == "json":
        context.terminal.print_json(status_as_json(document))
    else:
        context.terminal.print(render_status(document))
    return ExitCode.OK


def _find_ends(app: App, desired: DesiredState | None) -> dict[ResourceKey, datetime]:
    """When the certificates of secrets end that routes show; of those that can be read."""
    if desired is None:
        return {}
    routes = (route for item in desired.instances.values() for route in item.routes)
    keys = {route.certificate for route in routes if route.certificate is not None}
    refs = [desired.secret_refs[key] for key in sorted(keys & desired.secret_refs.keys())]
    if not refs:
        return {}
    from ctrlplane_gitops.certificates.validity import find_ends

    values, _ = resolve_all(refs, app.backends)
    return find_ends(values)


def run_get(context: Context) -> ExitCode:
    """The resources Git describes: all, those of a kind, or those whose address matches."""
    with opened(context) as app:
        wanted = gather(app, has_secrets=False)
        desired = require_desired(context, wanted)
    note_errors(context, wanted)
    pattern = context.options["what"]
    found = [item for _, item in sorted(desired.resources.items()) if _matches(item, pattern)]
    if pattern and not found and not _is_kind(pattern):
        raise UsageError(
            f"{pattern} matches nothing",
            hint=f"give a kind ({', '.join(_KINDS)}) or an address such as instance/acme/web",
        )
    if context.format == "json":
        context.terminal.print_json(
            {"resources": [{"address": item.key.address, "origin": str(item.origin),
                            "spec": _shown(item)} for item in found]}
        )  # fmt: skip
        return ExitCode.OK
    if not found:
        context.terminal.note("nothing found")
        return ExitCode.OK
    rows = [(item.key.address, str(item.origin), item.fingerprint) for item in found]
    context.terminal.print(render_table(("ADDRESS", "FILE", "FINGERPRINT"), rows))
    return ExitCode.OK


# Of what documents describe.
_KINDS: Sequence[str] = tuple(
    kind.value for kind in Kind if kind not in (Kind.CONTROL_PLANE, Kind.CERTIFICATE)
)


def _is_kind(word: str) -> bool:
    return word.removesuffix("s") in _KINDS


def _matches(item: DesiredResource, pattern: str | None) -> bool:
    if not pattern:
        return True
    if _is_kind(pattern):
        return item.key.kind.value == pattern.removesuffix("s")
    return fnmatchcase(item.key.address, pattern)


def _shown(item: DesiredResource) -> dict[str, object]:
    """A digest of a value is nobody's business but the plan's."""
    return {name: value for name, value in item.attributes.items() if name != "valueDigest"}
