"""``parse`` as a whole: total, isolating, silent about secrets, and cheap to import."""

import json
import marshal
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctrlplane_gitops.diagnostics import Diagnostic, Origin, error
from ctrlplane_gitops.specs.locate import locate
from ctrlplane_gitops.specs.validate import dump_documents, is_spec, load_documents, parse
from ctrlplane_gitops.state.key import Kind
from tests.specs.build import SPECS, envelope, parse_value


def test_importing_the_entry_loads_neither_pydantic_nor_yaml() -> None:
    code = (
        "import sys, ctrlplane_gitops.specs.validate, ctrlplane_gitops.specs.locate;"
        "print(sorted({'pydantic', 'ruamel', 'ruamel.yaml'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("path", "is_one"),
    [
        ("ctrlplane.yaml", True),
        ("a/b.yml", True),
        ("a/b.json", False),
        ("a/.b.yaml", False),
        (".github/workflows/ci.yml", False),
        ("a/.cache/b.yaml", False),
        ("README.md", False),
    ],
)
def test_only_visible_yaml_files_hold_specs(path: str, is_one: bool) -> None:
    assert is_spec(path) is is_one


def test_documents_of_every_kind_survive_the_cache() -> None:
    documents, diagnostics = parse_value(*(envelope(kind) for kind in SPECS))
    assert diagnostics == ()
    assert {document.kind for document in documents} == set(Kind) - {Kind.CERTIFICATE}
    dumped = json.loads(json.dumps(dump_documents(documents)))
    assert load_documents(dumped, "a.yaml") == list(documents)


def test_documents_know_their_place_and_order_in_the_file() -> None:
    documents, _ = parse_value(envelope("Tenant"), envelope("Instance"))
    assert [(item.index, item.line, item.tenant) for item in documents] == [
        (0, 2, "web"),
        (1, 4, "acme"),
    ]


def test_a_file_of_comments_and_empty_documents_holds_nothing() -> None:
    assert parse({"a.yaml": b"# nothing\n---\n---\n...\n", "b.yaml": b""}) == ((), ())


def test_a_broken_document_leaves_its_neighbours_alone() -> None:
    documents, diagnostics = parse_value(
        envelope("Tenant", name="acme"),
        envelope("Instance", {"replicas": "x"}, tenant="beta"),
        envelope("Route"),
    )
    assert [document.kind for document in documents] == [Kind.TENANT, Kind.ROUTE]
    assert {item.tenant for item in diagnostics} == {"beta"}


def test_a_broken_file_leaves_other_files_alone() -> None:
    sound = json.dumps(envelope("Tenant")).encode()
    documents, diagnostics = parse({"a.yaml": b"a: [", "b.yaml": sound, "c.yaml": b"\xff"})
    assert [document.path for document in documents] == ["b.yaml"]
    assert [(item.code, item.tenant) for item in diagnostics] == [
        ("yaml-syntax", ""),
        ("not-utf-8", ""),
    ]


def test_a_wrong_name_of_a_tenant_freezes_nobody_by_mistake() -> None:
    _, diagnostics = parse_value(envelope("Instance", {}, tenant="Acme"))
    assert [item.tenant for item in diagnostics] == [""]


def test_thousands_of_mistakes_are_cut_to_what_can_be_read() -> None:
    wrong = {f"k{number}": 1 for number in range(5_000)}
    _, diagnostics = parse_value(envelope("Instance", wrong))
    assert 0 < len(diagnostics) <= 100


def test_an_unknown_key_as_long_as_a_book_is_cut() -> None:
    _, diagnostics = parse_value(envelope("Instance", {"x" * 500_000: 1}))
    assert len(diagnostics[0].render()) < 400


def test_deep_values_made_of_aliases_are_refused() -> None:
    lines = ["a0: &a0 {x: 1}"]
    lines += [f"a{n + 1}: &a{n + 1} {{x: *a{n}}}" for n in range(100)]
    _, diagnostics = parse({"a.yaml": "\n".join(lines).encode()})
    assert [item.code for item in diagnostics] == ["too-deep"]


def _text(*lines: str) -> bytes:
    return "\n".join(lines).encode()


FILE = _text(
    "apiVersion: ctrlplane.dev/v1",
    "kind: Instance",
    "metadata: {tenant: acme, name: web}",
    "spec:",
    "  secrets:",
    "    - a",
    "    - gone",
    "  health:",
    "    - {type: tcp, port: htpp}",
)


@pytest.mark.parametrize(
    ("field", "code", "place"),
    [
        (("spec", "secrets", 1), "dangling", (7, 7)),
        (("spec", "health", 0, "port"), "dangling", (9, 25)),
        (("spec", "health", 0, "port"), "unknown-key", (9, 19)),
        (("spec", "provider"), "missing", (4, 1)),
        (("nothing",), "missing", (1, 1)),
        ((), "whole", (1, 1)),
    ],
)
def test_a_later_problem_is_located_at_its_field(
    field: tuple[str | int, ...], code: str, place: tuple[int, int]
) -> None:
    found = error(code, "x", origin=Origin("a.yaml", 1, 1), field=field)
    located = locate([found], {"a.yaml": FILE}.__getitem__)
    assert located == (found.at(Origin("a.yaml", *place)),)


def test_locating_reads_a_file_once_and_only_when_it_must() -> None:
    asked: list[str] = []

    def read(path: str) -> bytes:
        asked.append(path)
        return FILE

    whole = error("a", "x", origin=Origin("b.yaml", 1, 1))
    nowhere = error("a", "x", field=("spec",))
    here = error("a", "x", origin=Origin("a.yaml", 1, 1), field=("spec", "secrets", 0))
    located = locate([whole, here, nowhere, here], read)
    assert asked == ["a.yaml"]
    assert located[0] == whole
    assert located[2] == nowhere


def test_locating_twice_changes_nothing() -> None:
    _, diagnostics = parse({"a.yaml": FILE.replace(b"secrets", b"secretes")})
    assert locate(diagnostics, lambda path: FILE) == diagnostics


def test_a_document_that_moved_since_keeps_the_place_it_had() -> None:
    found = error("a", "x", origin=Origin("a.yaml", 5, 1), field=("spec",))
    assert locate([found], lambda path: FILE) == (found,)
    assert locate([found], lambda path: b"\xff") == (found,)


MARK = "hunter2"


def _mentions(diagnostics: tuple[Diagnostic, ...]) -> list[Diagnostic]:
    return [item for item in diagnostics if MARK in repr(item)]


_marked = st.recursive(
    st.sampled_from([MARK, f"{MARK}\n", f"$({MARK})", 7, True, None, [MARK], {MARK: MARK}]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["env", "file", "x", MARK]), inner, max_size=3)
    ),
    max_leaves=6,
)
_keys = st.sampled_from(
    ["type", "key", "path", "registry", "from", "protect", "value", "data", "frm", MARK]
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(_keys, _marked, max_size=8))
def test_nothing_below_a_secret_is_ever_shown(spec: dict[str, object]) -> None:
    value = envelope("Secret") | {"spec": spec}
    _, diagnostics = parse_value(value)
    assert _mentions(diagnostics) == []


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 70_000) | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(SPECS)), st.data())
def test_parsing_never_raises_whatever_stands_in_a_field(kind: str, data: st.DataObject) -> None:
    fields = [*sorted(SPECS[kind]), "env", "strategy", "health", "files", "providers", "quota"]
    spec = data.draw(st.dictionaries(st.sampled_from(fields), _json, max_size=4))
    documents, diagnostics = parse_value(envelope(kind, spec))
    assert bool(documents) != bool(diagnostics)
    assert all(item.origin is not None and item.origin.line for item in diagnostics)
    json.dumps(dump_documents(documents), allow_nan=False)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.text(max_size=6), st.binary(max_size=120), max_size=3))
def test_parsing_never_raises_on_any_bytes(files: dict[str, bytes]) -> None:
    parse(files)


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="kind:TenaspcmdV1/.{}[]&*<!|>-\"'# \n\t", max_size=120))
def test_parsing_never_raises_on_what_looks_like_yaml(text: str) -> None:
    parse({"a.yaml": f"apiVersion: ctrlplane.dev/v1\nkind: Tenant\n{text}".encode()})


def test_equal_parts_of_documents_are_there_once_and_stay_so_in_the_cache() -> None:
    documents, _ = parse_value(envelope("Instance"), envelope("Instance", name="db"))
    values = marshal.loads(marshal.dumps(dump_documents(documents)))
    for first, second in (documents, load_documents(values, "a.yaml")):
        assert first.spec["ports"] and first.spec["ports"] is second.spec["ports"]
        assert first.tenant is second.tenant and first.labels is second.labels
        assert first.spec is not second.spec and first.name != second.name
