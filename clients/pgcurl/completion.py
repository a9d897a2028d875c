"""Scripts with which shells complete commands."""

from collections.abc import Callable

from pgcurl.flags import FLAGS, Flag, Kind
from pgcurl.options import FORMATS, SHELLS

ASK = "-connect-timeout 1 -max-time 2 -completion words"
"""Has pgcurl print the services and methods of the default server."""

CHOICES = {"format": FORMATS, "completion": SHELLS}
"""Flags with few values."""


def completion_script(shell: str) -> str:
    """What is to be sourced by bash, zsh or fish."""
    scripts: dict[str, Callable[[], str]] = {"bash": _bash, "zsh": _zsh, "fish": _fish}
    return scripts[shell]()


def _names(chosen: Callable[[Flag], bool]) -> list[str]:
    return [flag.name for flag in FLAGS.values() if chosen(flag)]


def _dashed(names: list[str], separator: str) -> str:
    return separator.join(f"{dashes}{name}" for name in names for dashes in ("-", "--"))


def _takes_other(flag: Flag) -> bool:
    return flag.kind is not Kind.SWITCH and not flag.takes_file and flag.name not in CHOICES and flag.name != "d"


def _bash() -> str:
    choices = "\n".join(
        f'    {_dashed([name], "|")}) COMPREPLY=($(compgen -W "{" ".join(values)}" -- "$current")); return ;;'
        for name, values in CHOICES.items()
    )
    return f"""\
# Completion of pgcurl in bash: source <(pgcurl -completion bash)
_pgcurl() {{
  local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}}
  COMPREPLY=()
  case $previous in
    {_dashed(_names(lambda flag: flag.takes_file), "|")}) COMPREPLY=($(compgen -f -- "$current")); return ;;
{choices}
    {_dashed(_names(_takes_other), "|")}|-d|--d) return ;;
  esac
  if [[ $current == --* ]]; then
    COMPREPLY=($(compgen -W "{" ".join(f"--{name}" for name in FLAGS)}" -- "$current"))
  elif [[ $current == -* ]]; then
    COMPREPLY=($(compgen -W "{" ".join(f"-{name}" for name in FLAGS)}" -- "$current"))
  else
    COMPREPLY=($(compgen -W "list describe $("${{COMP_WORDS[0]}}" {ASK} 2>/dev/null)" -- "$current"))
  fi
}}
complete -F _pgcurl pgcurl
"""


def _zsh() -> str:
    choices = "\n".join(
        f"    {_dashed([name], '|')}) compadd -- {' '.join(values)}; return ;;" for name, values in CHOICES.items()
    )
    return f"""\
#compdef pgcurl
# Completion of pgcurl in zsh: source <(pgcurl -completion zsh)
_pgcurl() {{
  case $words[CURRENT-1] in
    {_dashed(_names(lambda flag: flag.takes_file), "|")}) _files; return ;;
{choices}
    {_dashed(_names(_takes_other), "|")}|-d|--d) return ;;
  esac
  if [[ $words[CURRENT] == --* ]]; then
    compadd -- {" ".join(f"--{name}" for name in FLAGS)}
  elif [[ $words[CURRENT] == -* ]]; then
    compadd -- {" ".join(f"-{name}" for name in FLAGS)}
  else
    compadd -- list describe ${{(f)"$($words[1] {ASK} 2>/dev/null)"}}
  fi
}}
compdef _pgcurl pgcurl
"""


def _fish() -> str:
    lines = [
        "# Completion of pgcurl in fish: pgcurl -completion fish | source",
        "complete -c pgcurl -f",
        f"complete -c pgcurl -a 'list describe (pgcurl {ASK} 2>/dev/null)'",
    ]
    lines += [f"complete -c pgcurl -o {flag.name}{_fish_value(flag)} -d '{_short(flag)}'" for flag in FLAGS.values()]
    return "\n".join(lines) + "\n"


def _fish_value(flag: Flag) -> str:
    if flag.kind is Kind.SWITCH:
        return ""
    if flag.takes_file:
        return " -r -F"
    if flag.name in CHOICES:
        return f" -x -a '{' '.join(CHOICES[flag.name])}'"
    return " -x"


def _short(flag: Flag) -> str:
    return flag.help.partition(". ")[0].rstrip(".").replace("'", "\\'")
