"""``schema`` and ``completion``: files for editors and shells."""

from __future__ import annotations

from pathlib import Path

from ctrlplane_gitops.cli.context import Context
from ctrlplane_gitops.cli.exit_codes import ExitCode
from ctrlplane_gitops.diagnostics import did_you_mean
from ctrlplane_gitops.errors import UsageError


def run_schema(context: Context) -> ExitCode:
    """Print the JSON Schema of one kind, or of any document; or write them all."""
    from ctrlplane_gitops.specs.jsonschema import build_schemas, render_schema

    schemas = build_schemas()
    options = context.options
    if options["dir"]:
        folder = Path(options["dir"])
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name, schema in schemas.items():
                text = render_schema(schema)
                (folder / name).write_text(text, encoding="utf-8")
        except OSError as error:
            reason = (error.strerror or "error").lower()
            raise UsageError(f"cannot write into {folder}: {reason}") from None
        context.terminal.print(f"Wrote {len(schemas)} schemas into {folder}\n")
        return ExitCode.OK
    kind = (options["kind"] or "ctrlplane").lower()
    names = {name.removesuffix(".json"): name for name in schemas}
    if kind not in names:
        raise UsageError(
            f"there is no schema of {kind!r}", hint=did_you_mean(kind, sorted(names)) or None
        )
    context.terminal.print(render_schema(schemas[names[kind]]))
    return ExitCode.OK
