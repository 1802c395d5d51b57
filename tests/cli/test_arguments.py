"""Arguments and environment: what is taken, what wins, and what is said of mistakes."""

from __future__ import annotations

import io
from typing import Any

import pytest

from ctrlplane_gitops.cli.flags import Flag, parse_moment, parse_natural, parse_time
from ctrlplane_gitops.cli.main import main, parse_arguments
from ctrlplane_gitops.cli.verb import VERBS, Verb
from ctrlplane_gitops.errors import UsageError

PAIRS = [(verb, flag) for verb in VERBS for flag in verb.all_flags]
EACH = pytest.mark.parametrize(
    ("verb", "flag"), PAIRS, ids=[f"{verb.name}-{flag.name}" for verb, flag in PAIRS]
)
VALUED = pytest.mark.parametrize(
    ("verb", "flag"),
    [(verb, flag) for verb, flag in PAIRS if flag.parse is not None],
    ids=lambda item: item.name,
)


def samples(flag: Flag) -> tuple[str, str]:
    """Two values it takes."""
    if flag.choices:
        return flag.choices[1], flag.choices[0]
    if flag.parse is parse_natural:
        return "7", "8"
    if flag.parse is parse_moment:
        return "2026-01-31T12:00:00Z", "2026-02-01T12:00:00Z"
    return ("7m", "1h30m") if flag.parse is parse_time else ("one", "two")


def as_words(flag: Flag, value: str) -> list[str]:
    return [flag.names[0]] if flag.parse is None else [flag.names[0], value]


def needed(verb: Verb) -> list[str]:
    """Arguments the verb cannot do without."""
    return ["instance/acme/web" for item in verb.arguments if item.nargs is None]


def parse(*words: str, **environ: str) -> dict[str, Any]:
    return parse_arguments(words, environ)[1]


def refuse(*words: str, **environ: str) -> tuple[str, str]:
    """Cause and way out, as printed; the exit code is 64 and nothing else is printed."""
    out, err = io.StringIO(), io.StringIO()
    assert main(words, environ, out=out, err=err) == 64
    assert out.getvalue() == ""
    lines = err.getvalue().splitlines()
    assert len(lines) <= 2 and lines[0].startswith("error: ")
    return lines[0].removeprefix("error: "), "".join(lines[1:]).strip()


@EACH
def test_a_flag_means_the_same_before_the_verb_as_after_it(verb: Verb, flag: Flag) -> None:
    words = as_words(flag, samples(flag)[0])
    before = parse(*words, verb.name, *needed(verb))
    assert before == parse(verb.name, *needed(verb), *words)
    assert before != parse(verb.name, *needed(verb))


@EACH
def test_a_flag_can_be_set_in_the_environment(verb: Verb, flag: Flag) -> None:
    value = samples(flag)[0]
    variable = f"CTRLPLANE_{flag.name.upper().replace('-', '_')}"
    found = parse(verb.name, *needed(verb), **{variable: "1" if flag.parse is None else value})
    assert found == parse(verb.name, *needed(verb), *as_words(flag, value))
    assert parse(verb.name, *needed(verb), **{variable: ""}) == parse(verb.name, *needed(verb))


@VALUED
def test_the_command_line_wins_over_the_environment(verb: Verb, flag: Flag) -> None:
    first, second = samples(flag)
    words = [verb.name, *needed(verb), *as_words(flag, first)]
    assert parse(*words, **{flag.variable: second}) == parse(*words)


def test_format_on_the_command_line_wins_over_json_in_the_environment() -> None:
    assert parse("plan", "--format", "markdown", CTRLPLANE_JSON="1")["json"] is False
    assert parse("plan", "--json", CTRLPLANE_FORMAT="markdown")["json"] is True


@pytest.mark.parametrize("word", ["maybe", "2"])
def test_a_switch_in_the_environment_is_true_or_false(word: str) -> None:
    cause, _ = refuse("apply", CTRLPLANE_AUTO_APPROVE=word)
    assert cause == f"CTRLPLANE_AUTO_APPROVE: '{word}' is neither true nor false"


@pytest.mark.parametrize("word", ["0", "false", "No", "off"])
def test_a_switch_can_be_off_in_the_environment(word: str) -> None:
    assert parse("apply", CTRLPLANE_AUTO_APPROVE=word)["auto_approve"] is False


@pytest.mark.parametrize(
    ("flag", "value", "cause"),
    [
        ("--max-delete", "x", "'x' is not a whole number from 0 on"),
        ("--max-delete", "-1", "'-1' is not a whole number from 0 on"),
        ("--max-delete", "1_0", "'1_0' is not a whole number from 0 on"),
        ("--timeout", "5", "'5' is not a duration such as '30s', '5m' or '1h30m'"),
        ("--format", "xml", "'xml' is not one of text, json, markdown"),
    ],
)
def test_a_bad_value_names_the_flag_or_the_variable_it_came_from(
    flag: str, value: str, cause: str
) -> None:
    variable = f"CTRLPLANE_{flag[2:].upper().replace('-', '_')}"
    assert refuse("apply", f"{flag}={value}")[0] == f"{flag}: {cause}"
    assert refuse("apply", **{variable: value})[0] == f"{variable}: {cause}"


def test_a_list_is_gathered_from_everywhere_it_is_given() -> None:
    assert parse("--target", "a", "plan", "--target", "b")["target"] == ("a", "b")
    assert parse("plan", CTRLPLANE_TARGET="a, b")["target"] == ("a", "b")


@pytest.mark.parametrize(
    ("words", "cause", "way_out"),
    [
        ([], "no verb is given", "ctrlplane-gitops --help lists them"),
        (["--chdir", "x"], "no verb is given", "ctrlplane-gitops --help lists them"),
        (["plna"], "there is no verb 'plna'", "did you mean 'plan'?"),
        (["xyzzy"], "there is no verb 'xyzzy'", "ctrlplane-gitops --help lists them"),
        (["--chdri", "x", "plan"], "there is no flag --chdri", "did you mean '--chdir'?"),
        (["plan", "--max-delte=3"], "plan has no flag --max-delte", "did you mean '--max-delete'?"),
        (["apply", "--auto"], "apply has no flag --auto", "did you mean '--auto-approve'?"),
        (["plan", "-out=x"], "plan has no flag -out", "did you mean '--out'?"),
        (["-y", "status"], "status has no flag -y", "ctrlplane-gitops status --help lists them"),
        (["plan", "x"], "plan does not take the argument 'x'", "ctrlplane-gitops plan --help"),
        (["apply", "a", "b"], "apply does not take the argument 'b'",
         "ctrlplane-gitops apply --help"),
        (["logs"], "the following arguments are required: ADDR", "ctrlplane-gitops logs --help"),
        (["plan", "--out"], "argument --out: expected one argument",
         "ctrlplane-gitops plan --help"),
        (["exec", "instance/a/b", "ls", "-l"], "exec does not take '-l'",
         "write what to run after --: ctrlplane-gitops exec ADDR -- COMMAND"),
        (["plan", "--json", "--format", "text"], "--format and --json exclude each other", ""),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_cause_and_way_out(
    words: list[str], cause: str, way_out: str
) -> None:
    assert refuse(*words) == (cause, way_out)


@pytest.mark.parametrize(
    "words", [["plan", "--out", ""], ["plan", "--ref="], ["plan", "--target", ""], ["apply", ""]]
)
def test_a_value_from_a_variable_that_is_not_set_is_refused(words: list[str]) -> None:
    assert "is empty" in refuse(*words)[0]


def test_a_command_to_execute_keeps_its_own_flags() -> None:
    found = parse("exec", "instance/a/b", "--replica", "1", "--", "ls", "--replica", "2", "--", "x")
    assert found["replica"] == 1
    assert found["command"] == ["ls", "--replica", "2", "--", "x"]


def test_only_the_verb_that_has_a_flag_reads_its_variable() -> None:
    assert "exec_timeout" not in parse("plan", CTRLPLANE_EXEC_TIMEOUT="bad")
    with pytest.raises(UsageError, match="CTRLPLANE_EXEC_TIMEOUT"):
        parse("exec", "instance/a/b", "--", "ls", CTRLPLANE_EXEC_TIMEOUT="bad")
