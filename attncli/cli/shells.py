"""Completion scripts for bash, zsh and fish.

    python -m attncli.cli.shells completions    writes them into that folder

A script runs `attn` with _ATTN_COMPLETE in its environment to get the completions of the words so far. Click has
its own scripts; these differ between its versions, and its bash script splits `preset:gpt3` into three words.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
    split_arg_string,
)

from attncli.choices import COMPLETION

# Bash also splits words at colons and equal signs, so the script passes the line, and the piece to replace.
# Bash 3.2 (macOS) has neither compopt nor nosort.
_BASH = """\
# Completion of attn for bash. In ~/.bashrc: source /path/to/attn.bash
# or put it, called attn, into ~/.local/share/bash-completion/completions.
# Written by `python -m attncli.cli.shells`.

_attn_completion() {
    local IFS=$'\\n' line type value
    COMPREPLY=()
    while IFS=',' read -r type value; do
        case $type in
            file) type compopt >/dev/null 2>&1 && compopt -o default ;;
            dir) type compopt >/dev/null 2>&1 && compopt -o dirnames ;;
            plain) COMPREPLY+=("$value") ;;
        esac
        [[ $value == *= || $value == *: ]] && type compopt >/dev/null 2>&1 && compopt -o nospace
    done < <(COMP_LINE="${COMP_LINE:0:COMP_POINT}" COMP_PIECE="${COMP_WORDS[COMP_CWORD]}" \\
        _ATTN_COMPLETE=bash_complete "$1" 2>/dev/null)
}

complete -o nosort -F _attn_completion attn 2>/dev/null || complete -F _attn_completion attn
"""

_ZSH = """\
#compdef attn
# Completion of attn for zsh: put it, called _attn, into a folder of your $fpath,
# or, after compinit, in ~/.zshrc: source /path/to/attn.zsh
# Written by `python -m attncli.cli.shells`.

_attn() {
    local -a plain described response
    local type key description
    (( ! $+commands[attn] )) && return 1
    response=("${(@f)$(COMP_WORDS="${(j: :)words[1,CURRENT]}" COMP_CWORD=$((CURRENT - 1)) \\
        _ATTN_COMPLETE=zsh_complete attn 2>/dev/null)}")
    for type key description in ${response}; do
        case $type in
            plain)
                if [[ $description == _ ]]; then
                    plain+=("$key")
                else
                    described+=("$key:$description")
                fi ;;
            dir) _path_files -/ ;;
            file) _path_files -f ;;
        esac
    done
    (( $#described )) && _describe -V unsorted described -U
    (( $#plain )) && compadd -U -V unsorted -a plain
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _attn "$@"
else
    compdef _attn attn
fi
"""

_FISH = """\
# Completion of attn for fish: put it into ~/.config/fish/completions.
# Written by `python -m attncli.cli.shells`.

function __attn_complete
    set -l response (COMP_WORDS=(commandline -cp) COMP_CWORD=(commandline -t) \\
        _ATTN_COMPLETE=fish_complete attn 2>/dev/null)
    for completion in $response
        set -l metadata (string split -m 1 "," -- $completion)
        switch $metadata[1]
            case dir
                __fish_complete_directories $metadata[2]
            case file
                __fish_complete_path $metadata[2]
            case plain
                echo $metadata[2]
        end
    end
end

complete --no-files --command attn --arguments "(__attn_complete)"
"""


class Bash(BashComplete):
    """Answers our bash script, which passes COMP_LINE up to the cursor, and COMP_PIECE, the piece to replace."""

    def source(self) -> str:
        return _BASH

    def get_completion_args(self) -> tuple[list[str], str]:
        words = split_arg_string(os.environ["COMP_LINE"])[1:]
        is_new = os.environ["COMP_LINE"][-1:].isspace() or not words
        return (words, "") if is_new else (words[:-1], words[-1])

    def format_completion(self, item: CompletionItem[Any]) -> str:
        _, incomplete = self.get_completion_args()
        piece = os.environ["COMP_PIECE"].strip("'\"")
        # A lone `:` or `=` ends the piece before it; the new piece is still empty.
        piece = "" if piece in (":", "=") else piece
        before = incomplete[: len(incomplete) - len(piece)] if incomplete.endswith(piece) else ""
        return f"{item.type},{str(item.value).removeprefix(before)}"


class Zsh(ZshComplete):
    def source(self) -> str:
        return _ZSH


class Fish(FishComplete):
    def source(self) -> str:
        return _FISH


SHELLS: dict[str, type[ShellComplete]] = {"bash": Bash, "zsh": Zsh, "fish": Fish}


def register() -> None:
    """Register these classes with Click, in place of its own."""
    for name, kind in SHELLS.items():
        add_completion_class(kind, name)


def script(shell: str) -> str:
    """The script for `bash`, `zsh` or `fish`."""
    from attncli.cli.command import attn

    return SHELLS[shell](attn, {}, "attn", COMPLETION).source()


def main(folder: str) -> None:
    for shell in SHELLS:
        Path(folder, f"attn.{shell}").write_text(script(shell), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main(sys.argv[1])
