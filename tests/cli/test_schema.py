"""``validate`` and ``schema``: what programs and editors are told of specs."""

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from tests.cli.folder import ROOT, Folder, web

SCHEMAS = {path.stem: path.read_text() for path in (ROOT / "schemas").glob("*.json")}
BROKEN = (
    "---\napiVersion: ctrlplane.dev/v1\nkind: Tenant\nmetadata: {name: zen}\n"
    "spec: {displayNam: Zen}\n"
)


def test_valid_specs_say_how_many_they_are(folder: Folder) -> None:
    assert folder.ok("validate") == "Success! 4 documents are valid.\n"
    assert json.loads(folder.ok("validate", "--json")) == {
        "valid": True,
        "error_count": 0,
        "warning_count": 0,
        "diagnostics": [],
    }


def test_a_mistake_is_told_to_people_with_place_cause_and_way_out(folder: Folder) -> None:
    folder.write(web() + BROKEN)
    assert folder.run("validate") == 65
    assert folder.output == ""
    place, hint, total = folder.errors.splitlines()
    assert place.startswith("specs.yaml:") and place.endswith(" [unknown-key]")
    assert hint == "    did you mean 'displayName'?"
    assert total == "error: 1 error in the specs"


def test_a_mistake_is_told_to_programs_in_terraforms_shape(folder: Folder) -> None:
    folder.write(web() + BROKEN)
    assert folder.run("validate", "--json") == 65
    assert folder.errors == ""
    found = json.loads(folder.output)
    assert (found["valid"], found["error_count"], found["warning_count"]) == (False, 1, 0)
    (item,) = found["diagnostics"]
    assert item["severity"] == "error" and item["address"] == "tenant/zen"
    assert item["detail"] == "did you mean 'displayName'?"
    line = (web() + BROKEN).splitlines().index("spec: {displayNam: Zen}") + 1
    assert item["range"] == {"filename": "specs.yaml", "start": {"line": line, "column": 8}}


def test_validate_needs_no_value_of_a_secret(folder: Folder) -> None:
    secret = (
        "apiVersion: ctrlplane.dev/v1\nkind: Secret\nmetadata: {tenant: acme, name: token}\n"
        "spec: {type: env, key: TOKEN, from: {env: NOT_SET_ANYWHERE}}\n"
    )
    folder.write(web() + secret)
    folder.ok("validate")
    assert folder.run("plan") == 65


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_a_schema_is_the_file_of_the_repository(folder: Folder, name: str) -> None:
    text = folder.ok("schema", name)
    assert text == SCHEMAS[name]
    assert folder.ok("schema", name.upper()) == text
    Draft202012Validator.check_schema(json.loads(text))


def test_without_a_kind_it_is_the_schema_of_any_document(folder: Folder) -> None:
    assert folder.ok("schema") == SCHEMAS["ctrlplane"]


def test_all_schemas_are_written_into_a_folder(folder: Folder, tmp_path: Path) -> None:
    target = tmp_path / "a" / "b"
    assert folder.ok("schema", "--dir", str(target)) == (
        f"Wrote {len(SCHEMAS)} schemas into {target}\n"
    )
    assert {path.stem: path.read_text() for path in target.iterdir()} == SCHEMAS


def test_a_kind_that_is_none_is_refused_with_the_closest(folder: Folder) -> None:
    assert folder.run("schema", "instnce") == 64
    assert folder.errors == (
        "error: there is no schema of 'instnce'\n    did you mean 'instance'?\n"
    )
