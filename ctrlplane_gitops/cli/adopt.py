"""``adopt``: describe what runs already in YAML, and take it over without a restart."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from ctrlplane_gitops.app import App, open_plane, open_providers
from ctrlplane_gitops.cli.context import (
    Context,
    gather,
    invalid_specs,
    opened,
    require_desired,
    require_folder,
)
from ctrlplane_gitops.cli.exit_codes import ExitCode
from ctrlplane_gitops.cli.history import parse_instance
from ctrlplane_gitops.errors import CapabilityError, ConflictError, CtrlplaneError, UsageError
from ctrlplane_gitops.execute.journal import Journal
from ctrlplane_gitops.execute.lease import hold_lease
from ctrlplane_gitops.providers.adopting import Adopting, Adoption, Describing, Foreign
from ctrlplane_gitops.providers.base import Provider
from ctrlplane_gitops.reconcile.adopt import Adopted, describe_adopted
from ctrlplane_gitops.redact import Redactor, SecretValue
from ctrlplane_gitops.specs.write import render_documents
from ctrlplane_gitops.state.desired import DesiredInstance, DesiredState
from ctrlplane_gitops.state.key import Kind, ResourceKey, tenant_key
from ctrlplane_gitops.value import replace

_FIRST = 1


def run_adopt(context: Context) -> ExitCode:
    """Write the documents into a file of their own, and mark what runs as the first release of
    the instance they describe. Where anything fails, nothing is left of either."""
    options = context.options
    if options["repo"] or options["ref"]:
        raise UsageError("adopt writes into a folder", hint="give it with --chdir")
    key = parse_instance(options["address"])
    require_folder(context)
    with opened(context) as app:
        desired = require_desired(context, gather(app, has_secrets=False))
        alias = options["provider"] or desired.plane.default_provider
        with open_providers(app, desired.plane) as providers:
            if alias not in providers:
                raise UsageError(
                    f"there is no provider {alias!r}", hint=f"known: {', '.join(providers)}"
                )
            provider = _require_describing(providers[alias])
            foreign = provider.find_foreign(options["what"], key)
            is_taken = _can_adopt(provider) and not foreign.is_described_only
    adopted = _describe(desired, key, alias, foreign)
    text = render_documents(adopted.documents)
    if options["print"]:
        context.terminal.print(text)
        return ExitCode.OK
    path = Path(options["chdir"]) / (options["file"] or f"tenants/{key.tenant}/{key.name}.yaml")
    _write(path, text)
    try:
        _take_over(context, key, foreign, adopted, is_taken=is_taken)
    except BaseException:
        path.unlink()
        raise
    _tell(context, key, foreign, adopted, path, is_taken=is_taken)
    return ExitCode.OK


def _require_describing(provider: Provider) -> Describing:
    if isinstance(provider, Describing):
        return provider
    raise CapabilityError(
        f"provider {provider.name!r} has no capability 'adopt'",
        hint="containers of a Docker engine and Deployments of a cluster can be described",
    )


def _can_adopt(provider: object) -> bool:
    return isinstance(provider, Adopting)


def _describe(desired: DesiredState, key: ResourceKey, alias: str, foreign: Foreign) -> Adopted:
    for owner in (key, ResourceKey(Kind.DEPLOYMENT, key.tenant, key.name)):
        if owner in desired.resources:
            raise ConflictError(f"{owner} is described already", hint="choose another name")
    if key.tenant in desired.frozen:
        raise ConflictError(f"the specs of {key.tenant} have errors", hint="validate lists them")
    secrets = [it.name for it in desired.resources
               if (it.kind, it.tenant) == (Kind.SECRET, key.tenant)]  # fmt: skip
    return describe_adopted(
        foreign,
        key,
        alias,
        is_default=alias == desired.plane.default_provider,
        has_tenant=tenant_key(key.tenant) in desired.resources,
        secrets=secrets,
    )


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        hint = "give another with --file"
        raise ConflictError(f"{path} is there already", hint=hint) from None
    except OSError as error:
        raise UsageError(f"cannot write {path}: {(error.strerror or 'error').lower()}") from None


def _take_over(
    context: Context, key: ResourceKey, foreign: Foreign, adopted: Adopted, *, is_taken: bool
) -> None:
    """By what the documents mean when they are read again, with the values that were left out.
    Where nothing can be taken over (``is_taken``) they are only seen to be sound."""
    with opened(replace(context, environ={**context.environ, **adopted.variables})) as app:
        wanted = gather(app, has_secrets=is_taken)
        desired = require_desired(context, wanted)
        instance = desired.instances.get(key)
        if instance is None or instance.revision is None or key.tenant in desired.frozen:
            context.terminal.diagnose(wanted.diagnostics)
            raise invalid_specs(wanted)
        if not is_taken:
            return
        values = [SecretValue(item.encode()) for item in adopted.variables.values()]
        adoption = Adoption(foreign, key, _FIRST, instance.revision)
        _mark(context, app, desired, instance, adoption, Redactor(values))


def _mark(
    context: Context,
    app: App,
    desired: DesiredState,
    instance: DesiredInstance,
    adoption: Adoption,
    redactor: Redactor,
) -> None:
    key, clock = instance.key, context.clock
    with (
        open_plane(app, desired.plane, is_read_only=False) as plane,
        hold_lease(plane.store, clock, context.options["lock_timeout"], context.cancel) as held,
    ):
        recorded = plane.store.load_state()
        if key in recorded.instances or recorded.releases.get(key):
            raise ConflictError(f"{key} is recorded already", hint="choose another name")
        provider = plane.providers[instance.provider]
        assert isinstance(provider, Adopting)
        journal = Journal(
            plane.store, held.fence, clock, app.settings.actor, redactor, lambda event: None
        )
        what = f"adopt {adoption.foreign.name}"
        intent = journal.open_note(key.address, what)
        journal.flush()
        try:
            provider.adopt(adoption)
        except CtrlplaneError as error:
            journal.close_note(intent, f"failed: {error.message}")
            with suppress(CtrlplaneError):
                journal.flush()
            raise
        journal.close_note(intent, "adopted")
        journal.audit(what, key.address, "adopted", "")
        # It is ours from here on, so what describes it must stay.
        with suppress(CtrlplaneError):
            journal.flush()


def _tell(
    context: Context,
    key: ResourceKey,
    foreign: Foreign,
    adopted: Adopted,
    path: Path,
    *,
    is_taken: bool,
) -> None:
    terminal = context.terminal
    terminal.print(f"  {path}\n")
    if is_taken:
        terminal.print(f"Adopted {foreign.name} as v{_FIRST} of {key}; it was not restarted.\n")
        after = "ctrlplane-gitops plan (nothing changes), commit the file, apply."
    else:
        terminal.print(f"Described {foreign.name} as {key}; it is left as it is.\n")
        after = (
            f"commit the file, apply (starts {key} beside it), move whoever uses it, and remove "
            f"{foreign.name}."
        )
    for note in foreign.notes:
        terminal.note(f"note: {note}")
    for variable, where in sorted(adopted.sources.items()):
        terminal.note(f"note: set {variable} where plans and applies are made; its value is {where}"
                      ", and was written nowhere")  # fmt: skip
    terminal.print(f"\nNext: {after}\n")
