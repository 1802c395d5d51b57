"""Composing YAML: plain values, within limits, every mistake with its place."""

import re

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ctrlplane_gitops.specs.event import Events, is_c_parser, read_events, read_events_in_python
from ctrlplane_gitops.specs.yaml import ComposedFile, compose

PARSERS = pytest.mark.parametrize("events", [read_events, read_events_in_python])


def _codes(file: ComposedFile) -> list[str]:
    codes = [problem.code for document in file.documents for problem in document.problems]
    return [*codes, file.problem.code] if file.problem else codes


def _value(text: str, events: Events = read_events) -> object:
    file = compose(text.encode(), events=events)
    assert _codes(file) == []
    return file.documents[0].value


def test_the_fast_parser_is_installed() -> None:
    assert is_c_parser()


@PARSERS
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("yes", "yes"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("'~'", "~"),
        ("0o17", 15),
        ("0x1F", 31),
        ("0644", 644),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("1_000", "1_000"),
        ("0.5", 0.5),
        ("1e3", 1000.0),
        ("-7", -7),
        ("+", "+"),
        ('"1"', "1"),
    ],
)
def test_plain_scalars_mean_what_the_core_schema_of_yaml_1_2_says(
    text: str, value: object, events: Events
) -> None:
    read = _value(f"a: {text}\n", events)
    assert read == {"a": value}
    assert type(read["a"]) is type(value)  # type: ignore[index]


@PARSERS
@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("a: 1\na: 2\n", "duplicate-key"),
        ("a: .nan\n", "not-a-number"),
        ("a: -.inf\n", "not-a-number"),
        ("a: 1e999\n", "number-too-large"),
        ("a: 1234567890123456789\n", "number-too-large"),
        ("a: !!str 1\n", "yaml-tag"),
        ("a: !local {}\n", "yaml-tag"),
        ("a: ! x\n", "yaml-tag"),
        ("%YAML 1.1\n---\na: 1\n", "yaml-directive"),
        ("%TAG ! tag:x,2000:\n---\na: 1\n", "yaml-directive"),
        ("a: *gone\n", "yaml-alias"),
        ("a: &a [*a]\n", "yaml-alias"),
        ("<<: text\n", "yaml-merge"),
        ("<<: [{a: 1}, 2]\n", "yaml-merge"),
        ("[a]: 1\n", "wrong-key"),
        ("1: a\n", "wrong-key"),
        ('a: "\\0"\n', "control-character"),
        ("a: b: c\n", "yaml-syntax"),
        ("a: [1\n", "yaml-syntax"),
        ("a:\n\t- b\n", "yaml-syntax"),
        ("a: 'b\n", "yaml-syntax"),
        ("a: @b\n", "yaml-syntax"),
    ],
)
def test_what_is_not_allowed_has_a_code_and_a_place(text: str, code: str, events: Events) -> None:
    file = compose(text.encode(), events=events)
    assert _codes(file) == [code]
    problem = file.problem or file.documents[0].problems[0]
    assert problem.line >= 1
    assert problem.column >= 1


@pytest.mark.parametrize(
    ("content", "code", "place"),
    [
        (b"a: 1\nb: \xff\n", "not-utf-8", (2, 4)),
        ("a: 1".encode("utf-16"), "not-utf-8", (1, 1)),
        (b"a: 1\r\nb: \x00\n", "control-character", (2, 4)),
        ("a: é\u2028\n".encode(), "control-character", (1, 5)),
        (b"x" * (2 * 1024 * 1024 + 1), "file-too-large", (0, 0)),
    ],
)
def test_bytes_that_are_not_a_text_are_refused(
    content: bytes, code: str, place: tuple[int, int]
) -> None:
    problem = compose(content).problem
    assert problem is not None
    assert (problem.code, (problem.line, problem.column)) == (code, place)


def test_a_byte_order_mark_and_windows_line_ends_are_fine() -> None:
    assert compose(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n").documents[0].value == {"a": 1, "b": 2}


def test_own_keys_win_over_merged_ones_and_the_first_source_over_later_ones() -> None:
    text = "x: &x {a: 1, b: 1}\ny: &y {b: 2, c: 2}\nz: {c: 3, <<: [*x, *y]}\n"
    assert _value(text)["z"] == {"a": 1, "b": 1, "c": 3}  # type: ignore[index]


def test_a_quoted_merge_key_is_an_ordinary_key() -> None:
    assert _value("'<<': text\n") == {"<<": "text"}


@pytest.mark.parametrize("text", ["{a: http://b}", "[b:c, ::1]", "{a: b?c=d}"])
def test_what_libyaml_wrongly_refuses_between_brackets_is_read(text: str) -> None:
    assert _value(text) == _value(text, read_events_in_python)


def test_a_large_file_gets_no_second_look_and_a_way_out() -> None:
    problem = compose(b"a: [http://b]\n" + b"# x\n" * 20_000).problem
    assert problem is not None
    assert problem.code == "yaml-syntax"
    assert problem.hint.startswith("quote a value that contains ':'")


def _alias_bomb() -> bytes:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    for level in range(8):
        uses = ", ".join([f"*a{level}"] * 9)
        lines.append(f"a{level + 1}: &a{level + 1} [{uses}]")
    return "\n".join(lines).encode()


def _merge_bomb() -> bytes:
    lines = ["m0: &m0 {a: 1}"]
    lines += [f"m{n + 1}: &m{n + 1} {{<<: [*m{n}, *m{n}]}}" for n in range(22)]
    return "\n".join(lines).encode()


@PARSERS
@pytest.mark.parametrize(
    ("content", "code"),
    [
        (_alias_bomb(), "too-many-nodes"),
        (_merge_bomb(), "too-many-nodes"),
        (b"[" * 5_000, "too-deep"),
        (b"{a: " * 5_000, "too-deep"),
        (b"- " * 5_000, "too-deep"),
        (b"? " * 5_000, "too-deep"),
    ],
)
def test_bombs_are_stopped_before_they_grow(content: bytes, code: str, events: Events) -> None:
    file = compose(content, events=events)
    assert file.documents == ()
    assert _codes(file) == [code]


def test_more_values_than_the_limit_are_refused() -> None:
    assert _codes(compose(b"- a\n" * 200_001)) == ["too-many-nodes"]


def test_a_million_digits_are_refused_without_counting_them() -> None:
    assert _codes(compose(b"a: 1." + b"1" * 1_000_000)) == ["number-too-large"]


def test_documents_before_a_syntax_error_are_kept() -> None:
    file = compose(b"a: 1\n---\nb: [\n")
    assert [document.value for document in file.documents] == [{"a": 1}]
    assert file.problem is not None
    assert file.problem.code == "yaml-syntax"


def test_a_syntax_error_does_not_quote_the_file() -> None:
    for text in ("password: !hun!ter2 x\n", 'p: "\\hunter2"\n', "p: *hunter2\n", "hunter2\np: 1\n"):
        for events in (read_events, read_events_in_python):
            file = compose(text.encode(), events=events)
            assert "hunter2" not in repr([file.problem, [d.problems for d in file.documents]])


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200) | st.text(alphabet="ab:-[]{}&*!<?|>'\"#%@ \n\t1~,").map(str.encode))
def test_composing_is_total(content: bytes) -> None:
    assert all(document.line >= 1 for document in compose(content, with_places=True).documents)


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet="ab:-[]{}&*'\" \n1~,", max_size=40))
def test_both_parsers_agree_on_values_when_neither_complains(text: str) -> None:
    # Whether a colon belongs to an anchor's name is where YAML 1.1 and 1.2 differ.
    assume(not re.search(r"[&*][^\s,\[\]{}]*:", text))
    fast = compose(text.encode())
    slow = compose(text.encode(), events=read_events_in_python)
    if not _codes(fast) and not _codes(slow):
        assert [d.value for d in fast.documents] == [d.value for d in slow.documents]


@PARSERS
def test_all_that_stands_before_a_failure_is_there(events: Events) -> None:
    """However far the parser has gone: it is asked for many events at a time."""
    for count in (0, 1, 50, 51, 52, 200):
        text = "--- {a: b}\n" * count + "--- [\n"
        file = compose(text.encode(), events=events)
        assert [item.value for item in file.documents] == [{"a": "b"}] * count
        assert file.problem is not None and file.problem.line > count
