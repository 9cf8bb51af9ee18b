"""`jaxflow completion`: the script by which a shell completes commands and options."""

from typing import Annotated, Any

import typer

from .cite import papers_known
from .common import checked
from .new import KINDS

BASH = """\
_jaxflow() {{
    local words
    case "${{COMP_WORDS[1]}}" in
{cases}
    esac
    [ "$COMP_CWORD" -eq 1 ] && words="{commands}"
    COMPREPLY=($(compgen -W "$words" -- "${{COMP_WORDS[COMP_CWORD]}}"))
}}
complete -o default -F _jaxflow jaxflow
"""
ZSH = """\
autoload -U +X compinit && compinit
autoload -U +X bashcompinit && bashcompinit
"""
SCRIPTS = {"bash": BASH, "zsh": ZSH + BASH, "fish": ""}


def completion(
    ctx: typer.Context,
    shell: Annotated[str, typer.Argument(help="bash, zsh or fish.")],
) -> None:
    """Print the script that completes commands and options in a shell.

    For bash, add `eval "$(jaxflow completion bash)"` to ~/.bashrc, and likewise for zsh to
    ~/.zshrc; for fish, write it to ~/.config/fish/completions/jaxflow.fish. The script lists what
    there is, so that the Tab key does not start Python.
    """

    def script() -> str:
        if shell not in SCRIPTS:
            raise ValueError(f"No shell {shell!r}: choose one of {', '.join(SCRIPTS)}.")
        assert ctx.parent is not None
        commands: dict[str, Any] = ctx.parent.command.commands  # type: ignore[attr-defined]
        return _fish(commands) if shell == "fish" else _bash(commands, SCRIPTS[shell])

    print(checked(script), end="")  # as it is: not wrapped to the width of the terminal


def _words(command: Any) -> list[str]:
    """What may follow a command: its options, and for some a word from a list."""
    options = [o for p in command.params for o in (*p.opts, *p.secondary_opts)]
    first = {"new": list(KINDS), "completion": list(SCRIPTS), "cite": papers_known()}.get(
        command.name, []
    )
    return [*first, *(o for o in options if o.startswith("--")), "--help"]


def _bash(commands: dict[str, Any], script: str) -> str:
    cases = [f'        {n}) words="{" ".join(_words(c))}" ;;' for n, c in commands.items()]
    return script.format(cases="\n".join(cases), commands=" ".join(commands))


def _fish(commands: dict[str, Any]) -> str:
    lines = []
    for name, command in commands.items():
        said = (command.help or "").strip().split("\n")[0].replace("'", r"\'")
        lines.append(f"complete -c jaxflow -n __fish_use_subcommand -f -a {name} -d '{said}'")
        for word in _words(command):
            given = f"-l {word[2:]}" if word.startswith("--") else f"-f -a {word}"
            lines.append(f"complete -c jaxflow -n '__fish_seen_subcommand_from {name}' {given}")
    return "\n".join(lines) + "\n"
