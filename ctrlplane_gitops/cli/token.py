"""``token``: something to come in with, of which Git learns the digest alone."""

from __future__ import annotations

import re

from ctrlplane_gitops.auth.tokens import digest_of, new_token
from ctrlplane_gitops.cli.context import Context
from ctrlplane_gitops.cli.exit_codes import ExitCode
from ctrlplane_gitops.clock import rfc3339
from ctrlplane_gitops.errors import UsageError

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def run_token(context: Context) -> ExitCode:
    """Print a fresh token, which is written down nowhere, and what to commit for it."""
    options = context.options
    for name in (options["name"], *options["tenant"]):
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"{name!r} is not a name: small letters, digits and '-', with '-' not at an end"
            )
    token = new_token()
    rows = [
        # Quoted: a name or a digest may look like a number.
        f'- name: "{options["name"]}"',
        f'  sha256: "{digest_of(token)}"',
        f"  role: {options['role']}",
    ]
    if options["tenant"]:
        names = ", ".join(f'"{name}"' for name in dict.fromkeys(options["tenant"]))
        rows.append(f"  tenants: [{names}]")
    if options["expires"] is not None:
        rows.append(f'  expires: "{rfc3339(context.clock.now() + options["expires"])}"')
    note = context.terminal.note
    note("# The token is shown once. Commit this to spec.access.tokens of the ControlPlane:")
    note("\n".join(f"    {row}" for row in rows))
    context.terminal.print(f"{token}\n")
    return ExitCode.OK
