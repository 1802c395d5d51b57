"""Completion scripts, run by the shell they are for."""

import re
import shutil
import subprocess

import pytest

from ctrlplane_gitops.cli.flags import COMMON
from ctrlplane_gitops.cli.verb import VERBS, Verb
from tests.cli.folder import Folder

BASH = shutil.which("bash")
needs_bash = pytest.mark.skipif(BASH is None, reason="bash is not installed")
NAMES = {verb.name for verb in VERBS}


def complete(folder: Folder, *words: str) -> set[str]:
    """What bash offers for the last of these words."""
    script = folder.ok("completion", "bash") + (
        f"COMP_WORDS=(ctrlplane-gitops {' '.join(repr(word) for word in words)})\n"
        f"COMP_CWORD={len(words)}\n_ctrlplane_gitops\n"
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    ran = subprocess.run([BASH, "--norc", "-euc", script], capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")
    return set(ran.stdout.split())


def names(verb: Verb) -> set[str]:
    return {name for flag in verb.all_flags for name in flag.names}


@needs_bash
def test_bash_offers_the_verbs(folder: Folder) -> None:
    assert complete(folder, "") == NAMES
    assert complete(folder, "st") == {"status"}
    assert complete(folder, "--chdir", "x", "pl") == {"plan"}


@needs_bash
def test_bash_offers_common_flags_before_the_verb(folder: Folder) -> None:
    wanted = {name for flag in COMMON for name in flag.names}
    assert complete(folder, "--") == wanted | {"--help", "--version"}


@needs_bash
@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_bash_offers_the_flags_of_the_verb(folder: Folder, verb: Verb) -> None:
    assert complete(folder, verb.name, "-") == names(verb)


@needs_bash
def test_bash_leaves_arguments_to_file_names(folder: Folder) -> None:
    assert complete(folder, "apply", "") == set()


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_are_told_every_verb_and_flag(folder: Folder, shell: str) -> None:
    script = folder.ok("completion", shell)
    for verb in VERBS:
        if shell == "zsh":
            found = re.search(rf"^    {verb.name}\) _values -w flag (.*) ;;$", script, re.MULTILINE)
            assert found is not None and set(found[1].split()) == names(verb)
            continue
        lines = [line for line in script.splitlines() if f"from {verb.name}'" in line]
        text = " ".join(lines)
        found_names = {f"--{name}" for name in re.findall(r" -l (\S+)", text)}
        assert found_names | {f"-{name}" for name in re.findall(r" -s (\S)", text)} == names(verb)


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_can_read_the_script(folder: Folder, shell: str) -> None:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    script = folder.ok("completion", shell)
    ran = subprocess.run([program, "-n", "-c", script], capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_a_shell_that_is_none_is_refused(folder: Folder) -> None:
    assert folder.run("completion", "zs") == 64
    assert folder.errors == "error: there is no completion for 'zs'\n    did you mean 'zsh'?\n"
