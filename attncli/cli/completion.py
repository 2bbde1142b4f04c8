"""What a shell may complete: the values of options, from what is on this disk. Nothing here asks a network.

Every function takes what Click hands to a `shell_complete` callback: the context, the parameter, and the word so far.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    import click

    # At run time the class takes no types in Click 8.2.
    Items = list[CompletionItem[str]]


def models(ctx: click.Context, _: click.Parameter, incomplete: str) -> Items:
    """The model that ships with the package, the cached ones, for `params` architectures without weights, and files."""
    from attncli.models.builtin.presets import preset_names
    from attncli.models.files.hub_cache import cached_models, hub_settings

    presets = [f"preset:{name}" for name in preset_names()] if ctx.info_name == "params" else []
    names = ["builtin:induction", *cached_models(hub_settings()), *presets]
    # A shell offers files of its own accord where it is told so, beside the names.
    return [CompletionItem(incomplete, type="file"), *_items_starting_with(names, incomplete)]


def files(_: click.Context, __: click.Parameter, incomplete: str) -> Items:
    return [CompletionItem(incomplete, type="file")]


def metrics(_: click.Context, __: click.Parameter, incomplete: str) -> Items:
    from attncli.choices import METRICS

    return _items_starting_with(METRICS, incomplete)


def claims(_: click.Context, __: click.Parameter, incomplete: str) -> Items:
    """A claim is quoted; its metric comes behind the head."""
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
    """RANK[:COMPONENT,…]: the last component."""
    from attncli.results.params import COMPONENTS

    rank, colon, named = incomplete.partition(":")
    if not colon:
        return []
    before, comma, _last = named.rpartition(",")
    return _items_starting_with((f"{rank}:{before}{comma}{name}" for name in _with_group_names(COMPONENTS)), incomplete)


def _with_group_names(components: Iterable[str]) -> Iterator[str]:
    """Components, and before those of a group its name: attention, attention.query, …"""
    last = None
    for component in components:
        group, dot, _ = component.partition(".")
        if dot and group != last:
            yield group
        last = group
        yield component


def _items_starting_with(words: Iterable[str], incomplete: str) -> Items:
    return [CompletionItem(word) for word in words if word.startswith(incomplete)]
