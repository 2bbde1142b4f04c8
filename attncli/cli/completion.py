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
    return [CompletionItem(incomplete, type="file"), *_beginning(names, incomplete)]


def files(_: click.Context, __: click.Parameter, incomplete: str) -> Items:
    return [CompletionItem(incomplete, type="file")]


def metrics(_: click.Context, __: click.Parameter, incomplete: str) -> Items:
    from attncli.choices import METRICS

    return _beginning(METRICS, incomplete)


def claims(_: click.Context, __: click.Parameter, incomplete: str) -> Items:
    """A claim is quoted; its metric comes behind the head."""
    from attncli.choices import METRICS

    head, space, metric = incomplete.partition(" ")
    return _beginning((f"{head} {name} " for name in METRICS), f"{head} {metric}") if space else []


def thresholds(_: click.Context, __: click.Parameter, incomplete: str) -> Items:
    from attncli.choices import LABELS

    return _beginning((f"{label}=" for label in LABELS), incomplete)


def stacks(_: click.Context, __: click.Parameter, incomplete: str) -> Items:
    return _beginning(("encoder", "decoder", "cross", "vision", "audio", "text"), incomplete)


def devices(_: click.Context, __: click.Parameter, incomplete: str) -> Items:
    return _beginning(("auto", "cpu", "cuda", "mps"), incomplete)


def adapters(_: click.Context, __: click.Parameter, incomplete: str) -> Items:
    """RANK[:COMPONENT,…]: the last component."""
    from attncli.choices import COMPONENTS

    rank, colon, named = incomplete.partition(":")
    if not colon:
        return []
    before, comma, _last = named.rpartition(",")
    return _beginning((f"{rank}:{before}{comma}{name}" for name in _and_groups(COMPONENTS)), incomplete)


def _and_groups(components: Iterable[str]) -> Iterator[str]:
    """Components, and before those of a group its name: attention, attention.query, …"""
    last = None
    for component in components:
        group, dot, _ = component.partition(".")
        if dot and group != last:
            yield group
        last = group
        yield component


def _beginning(words: Iterable[str], incomplete: str) -> Items:
    return [CompletionItem(word) for word in words if word.startswith(incomplete)]
