from __future__ import annotations

from pathlib import Path

from ctrlplane_gitops.secrets.registry import build_backends, resolve_all
from ctrlplane_gitops.state.desired import SecretRef
from ctrlplane_gitops.state.key import Kind, ResourceKey


def test_one_secret_that_fails_does_not_hide_the_others(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"from-file\n")
    keys = [ResourceKey(Kind.SECRET, "acme", name) for name in ("a", "b", "c", "d")]
    refs = [
        SecretRef(keys[0], "env", "A"),
        SecretRef(keys[1], "file", "b"),
        SecretRef(keys[2], "env", "MISSING"),
        SecretRef(keys[3], "fiel", "b"),
    ]
    values, failures = resolve_all(refs, build_backends({"A": "from-env"}, tmp_path))
    assert {key: value.reveal() for key, value in values.items()} == {
        keys[0]: b"from-env",
        keys[1]: b"from-file",
    }
    assert set(failures) == {keys[2], keys[3]}
    assert failures[keys[3]].hint == "did you mean 'file'?"
