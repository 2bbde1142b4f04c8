"""Completions of option values in a shell, from files on this disk only, never from the network.

Every function takes what Click passes to a `shell_complete` callback: the context, the parameter, and the word so far.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    import click

    # At run time the class takes no types in Click 8.2.
    Items = list[CompletionItem[str]]


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


def metrics(_: click.Context, __: click.Parameter, incomplete: str) -> Items:
    from attncli.choices import METRICS

    return _items_starting_with(METRICS, incomplete)


def claims(_: click.Context, __: click.Parameter, incomplete: str) -> Items:
    """The metric of a claim, which follows the head."""
    from attncli.choices import METRICS

    head, space, metric = incomplete.partition(" ")
    return _items_starting_with((f"{head} {name} " for name in METRICS), f"{head} {metric}") if space else []


def thresholds(_: click.Context, __: click.Parameter, incomplete: str) -> Items:
    from attncli.choices import LABELS

    return _items_starting_with((f"{label}=" for label in LABELS), incomplete)


def stacks(_: click.Context, __: click.Parameter, incomplete: str) -> Items:
    return _items_starting_with(("encoder", "decoder", "cross", "vision", "audio", "text"), incomplete)


def devices(_: click.Context, __: click.Parameter, incomplete: str) -> Items:
    return _items_starting_with(("auto", "cpu", "cuda", "mps"), incomplete)


def adapters(_: click.Context, __: click.Parameter, incomplete: str) -> Items:
    """The last component of RANK[:COMPONENT,…]."""
    from attncli.components import NAMES

    rank, colon, components = incomplete.partition(":")
    if not colon:
        return []
    before, comma, _last = components.rpartition(",")
    return _items_starting_with((f"{rank}:{before}{comma}{name}" for name in NAMES), incomplete)


def _items_starting_with(words: Iterable[str], incomplete: str) -> Items:
    return [CompletionItem(word) for word in words if word.startswith(incomplete)]
