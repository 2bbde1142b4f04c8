"""Completion in a shell: the script for bash, and values of options, from files on this disk only.

    _ATTN_COMPLETE=bash_source attn    prints the script (`completions/attn.bash`)

Those for zsh and fish are Click's, but that ours are silent where `attn` fails, and know values with commas. A function
for values takes what Click passes to a `shell_complete` callback: the context, the parameter, and the word so far.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from click.shell_completion import BashComplete, CompletionItem, split_arg_string

from attncli.choices import DEVICES
from attncli.components import NAMES
from attncli.effects import EFFECTS
from attncli.metrics import LABELS, METRICS

if TYPE_CHECKING:
    import click

    # At run time the class takes no types in Click 8.2.
    Items = list[CompletionItem[str]]


# Bash also splits words at colons and equal signs, so the script passes the line, and the piece to replace.
# Bash 3.2 (macOS) has neither compopt nor nosort.
_BASH = """\
# Completion of attn for bash. In ~/.bashrc: source /path/to/attn.bash
# or put it, called attn, into ~/.local/share/bash-completion/completions.

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


# --- Values of options


def models(ctx: click.Context, _: click.Parameter, incomplete: str) -> Items:
    """The built-in model, cached models and files; for `params` also presets."""
    from attncli.models.builtin.presets import preset_names
    from attncli.models.files.hub_cache import cached_models, hub_settings

    presets = [f"preset:{name}" for name in preset_names()] if ctx.info_name == "params" else []
    names = ["builtin:induction", *cached_models(hub_settings()), *presets]
    # An item of type `file` makes the shell offer files too.
    return [CompletionItem(incomplete, type="file"), *_items_starting_with(names, incomplete)]


def files(_: click.Context, __: click.Parameter, incomplete: str) -> Items:
    return [CompletionItem(incomplete, type="file")]


def saved(_: click.Context, __: click.Parameter, incomplete: str) -> Items:
    """Files that end in .json, and folders."""
    folder, slash, _name = incomplete.rpartition("/")
    found = sorted(f"{folder}{slash}{path.name}" for path in Path(f"{folder}{slash}" or ".").glob("*.json"))
    return [CompletionItem(incomplete, type="dir"), *_items_starting_with(found, incomplete)]


def words(known: Callable[[], Iterable[str]]) -> Callable[[click.Context, click.Parameter, str], Items]:
    """The function that completes to one of these words."""
    return lambda _ctx, _param, incomplete: _items_starting_with(known(), incomplete)


metrics = words(lambda: METRICS)
thresholds = words(lambda: (f"{label}=" for label in LABELS))
stacks = words(lambda: ("encoder", "decoder", "cross", "vision", "audio", "text"))
devices = words(lambda: DEVICES)


def claims(_: click.Context, __: click.Parameter, incomplete: str) -> Items:
    """The metric or the effect of a claim, which follows the head."""
    head, space, metric = incomplete.partition(" ")
    names = (*METRICS, *EFFECTS)
    return _items_starting_with((f"{head} {name} " for name in names), f"{head} {metric}") if space else []


def effects(_: click.Context, __: click.Parameter, incomplete: str) -> Items:
    """The last kind of KIND,…"""
    before, comma, _last = incomplete.rpartition(",")
    return _items_starting_with((f"{before}{comma}{name}" for name in EFFECTS), incomplete)


def adapters(_: click.Context, __: click.Parameter, incomplete: str) -> Items:
    """The last component of RANK[:COMPONENT,…]."""
    rank, colon, components = incomplete.partition(":")
    if not colon:
        return []
    before, comma, _last = components.rpartition(",")
    return _items_starting_with((f"{rank}:{before}{comma}{name}" for name in NAMES), incomplete)


def _items_starting_with(words: Iterable[str], incomplete: str) -> Items:
    return [CompletionItem(word) for word in words if word.startswith(incomplete)]
