"""Completion scripts, made from the same tables as the parser."""

from __future__ import annotations

from ctrlplane_gitops.cli.context import Context
from ctrlplane_gitops.cli.exit_codes import ExitCode
from ctrlplane_gitops.cli.flags import COMMON
from ctrlplane_gitops.cli.verb import VERBS, Verb
from ctrlplane_gitops.diagnostics import did_you_mean
from ctrlplane_gitops.errors import UsageError


def run_completion(context: Context) -> ExitCode:
    """Print the script; the shell sources it."""
    shell = context.options["shell"]
    if shell not in _RENDERERS:
        raise UsageError(
            f"there is no completion for {shell!r}", hint=did_you_mean(shell, sorted(_RENDERERS))
        )
    context.terminal.print_raw(_RENDERERS[shell]())
    return ExitCode.OK


def _names(verb: Verb) -> list[str]:
    return [name for flag in verb.all_flags for name in flag.names]


def _render_bash() -> str:
    cases = "\n".join(f'    {verb.name}) words="{" ".join(_names(verb))}" ;;' for verb in VERBS)
    verbs = " ".join(verb.name for verb in VERBS)
    common = " ".join(name for flag in COMMON for name in flag.names)
    return f"""_ctrlplane_gitops() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}" verb="" words="{verbs}" word
  [[ "$current" == -* ]] && words="{common} --help --version"
  for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
    case " {verbs} " in *" $word "*) verb="$word"; break ;; esac
  done
  case "$verb" in
{cases}
  esac
  COMPREPLY=()
  if [[ -z "$verb" || "$current" == -* ]]; then
    COMPREPLY=($(compgen -W "$words" -- "$current"))
  fi
}}
complete -o default -F _ctrlplane_gitops ctrlplane-gitops
"""


def _render_zsh() -> str:
    verbs = "\n".join(f"    '{verb.name}:{_plain(verb.help)}'" for verb in VERBS)
    cases = "\n".join(
        f"    {verb.name}) _values -w flag {' '.join(_names(verb))} ;;" for verb in VERBS
    )
    return f"""#compdef ctrlplane-gitops
_ctrlplane_gitops() {{
  local -a verbs
  verbs=(
{verbs}
  )
  if (( CURRENT == 2 )); then
    _describe verb verbs
    return
  fi
  if [[ $words[CURRENT] != -* ]]; then
    _files
    return
  fi
  case $words[2] in
{cases}
  esac
}}
compdef _ctrlplane_gitops ctrlplane-gitops
"""


def _render_fish() -> str:
    lines = ["complete -c ctrlplane-gitops -f -n __fish_use_subcommand"]
    for verb in VERBS:
        lines.append(
            "complete -c ctrlplane-gitops -n __fish_use_subcommand "
            f"-a {verb.name} -d '{_plain(verb.help)}'"
        )
        for flag in verb.all_flags:
            names = " ".join(
                f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}"
                for name in flag.names
            )
            value = "" if flag.parse is None else " -r"
            lines.append(
                f"complete -c ctrlplane-gitops -n '__fish_seen_subcommand_from {verb.name}' "
                f"{names}{value} -d '{_plain(flag.help)}'"
            )
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    return text.replace("'", "").replace(":", " -")


_RENDERERS = {"bash": _render_bash, "fish": _render_fish, "zsh": _render_zsh}
