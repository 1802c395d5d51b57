"""``token``: what it prints can be committed, and lets its owner in."""

from __future__ import annotations

import textwrap
from datetime import UTC, datetime

from ctrlplane_gitops.auth.tokens import find_token
from ctrlplane_gitops.catalog.control_plane import parse_control_plane
from ctrlplane_gitops.specs.validate import parse
from ctrlplane_gitops.state.access import AccessToken, Role
from tests.cli.folder import Folder

HEAD = "apiVersion: ctrlplane.dev/v1\nkind: ControlPlane\nmetadata: {name: prod}\nspec:\n"


def read_tokens(said: str) -> tuple[AccessToken, ...]:
    """What a control plane says that has what was printed."""
    rows = textwrap.dedent("\n".join(said.splitlines()[1:]))
    text = HEAD + "  access:\n    tokens:\n" + textwrap.indent(rows, " " * 6)
    documents, diagnostics = parse({"ctrlplane.yaml": text.encode()})
    assert not diagnostics, [item.render() for item in diagnostics]
    plane = parse_control_plane(documents)
    assert plane is not None
    return plane.tokens


def test_a_token_is_printed_once_and_its_digest_is_what_is_committed(folder: Folder) -> None:
    token = folder.ok("token", "ci", "--role", "operator", "--tenant", "acme", "--tenant", "1")
    said = folder.errors
    assert token.strip() not in said
    now = datetime(2026, 3, 1, tzinfo=UTC)
    found = find_token(read_tokens(said), token.strip(), now)
    assert found is not None
    assert (found.name, found.role, found.tenants) == ("ci", Role.OPERATOR, {"acme", "1"})
    assert found.expires_at is None


def test_the_least_is_what_is_given_without_asking(folder: Folder) -> None:
    folder.ok("token", "null", "--expires", "720h")
    [found] = read_tokens(folder.errors)
    assert (found.name, found.role, found.tenants) == ("null", Role.VIEWER, None)
    assert found.expires_at is not None


def test_a_name_that_git_would_refuse_is_refused_before(folder: Folder) -> None:
    for words in (("CI",), ("ci", "--tenant", "A B"), ("ci", "--role", "root")):
        assert folder.run("token", *words) == 64
        assert not folder.output
