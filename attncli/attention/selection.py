"""What is shown of a pattern: which queries and keys, by what unit. Imports no torch, as texts are met before it.

Which layers and heads the user chose: `-l 0-2,5`, `-H 5.5,cross.1.2`, `--stack decoder`.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Literal, get_args

from attncli.attention.positions import Position, Span, words_of
from attncli.choices import METRICS
from attncli.errors import UsageError
from attncli.results.tokens import Token

if TYPE_CHECKING:
    from attncli.models.capture.structure import BlockList

Unit = Literal["token", "word", "line"]
UNITS: tuple[str, ...] = get_args(Unit)


@dataclass(frozen=True)
class View:
    """What is shown of a pattern: which queries and keys, by what unit, and whether without special tokens.

    line_starts: the characters at which lines of the text begin, for the unit `line`.
    """

    query: Position | None = None
    key: Position | None = None
    by: Unit = "token"
    hide_special: bool = False
    line_starts: tuple[int, ...] = ()

    @property
    def reads_one(self) -> bool:
        """Whether the rows are one position, however many tokens it has: what it reads can be told key by key."""
        return self.query is not None and not self.query.is_slice

    @property
    def reads_one_key(self) -> bool:
        """Whether that position is looked at with one key alone, so that there is one weight a head."""
        return self.reads_one and self.key is not None and not self.key.is_slice

    def shown(self, tokens: Sequence[Token], position: Position | None) -> list[Span]:
        """The tokens of each row or column on one side, half open. A word or a line of which a part was asked for is
        cut to that part.

        Raises UsageError for a position that isn't there, or where special tokens were all that there was.
        """
        start, stop = (0, len(tokens)) if position is None else position.span(tokens)
        spans = [(max(a, start), min(b, stop)) for a, b in self._units(tokens) if a < stop and b > start]
        if not self.hide_special:
            return spans
        ordinary = [(a, b) for a, b in spans if not all(token.special for token in tokens[a:b])]
        if not ordinary:
            raise _all_special(tokens, position, start, stop)
        return ordinary

    def _units(self, tokens: Sequence[Token]) -> list[Span]:
        if self.by == "token":
            return [(place, place + 1) for place in range(len(tokens))]
        if self.by == "word":
            return words_of(tokens)
        keys = [
            (place, "alone") if token.start is None else (bisect_right(self.line_starts, token.start), "line")
            for place, token in enumerate(tokens)
        ]
        groups = (list(places) for _, places in groupby(range(len(tokens)), keys.__getitem__))
        return [(places[0], places[-1] + 1) for places in groups]


def _all_special(tokens: Sequence[Token], position: Position | None, start: int, stop: int) -> UsageError:
    """What there is to say where special tokens are all that was asked for, with the nearest of the others."""
    others = [place for place, token in enumerate(tokens) if not token.special]
    if position is None or not others:
        return UsageError("nothing but special tokens is left to show", hint="leave --hide-special out")
    nearest = min(others, key=lambda place: abs(place - start))
    names = ", ".join(token.token for token in tokens[start:stop])
    are = "is a special token" if stop - start == 1 else "are special tokens"
    return UsageError(
        f"{position.flag} {position.typed}: {names} {are}, which --hide-special leaves out",
        hint=f"leave --hide-special out; the nearest other token is {nearest} ({tokens[nearest].text.strip()})",
    )


def line_starts(text: str) -> tuple[int, ...]:
    """The characters at which the lines of a text begin."""
    return (0, *(place + 1 for place, character in enumerate(text) if character == "\n"))


#: Weights themselves, times the norm of what is read, or rolled out over the layers up to one.
Weighting = Literal["attention", "norm", "rollout"]

#: A view that leaves nothing out.
EVERYTHING = View()

#: What `-l`, `-H` and the Python keywords `layer=`, `head=` take.
Spec = str | int | Sequence[str | int] | None

_LAYERS = re.compile(r"(-?\d+)(?:-(-?\d+))?")
_HEAD = re.compile(r"(?:(?:(?P<stack>[a-z_]\w*)\.)?(?P<layer>-?\d+)\.)?(?P<head>-?\d+)", re.IGNORECASE)

_LAYER_HINT = "-l takes layers from 0 and ranges of them: 3, 0-2,5 or -1 for the last"
_HEAD_HINT = "-H takes layer.head as printed (5.5,6.9 or cross.1.2), or plain head numbers beside -l"


@dataclass(frozen=True)
class LayerSpan:
    """Layers first…last, both inclusive; a negative number counts from the end."""

    first: int
    last: int

    def within(self, count: int, what: str) -> range:
        """The layers that it means among `count`. Raises UsageError where one of them isn't there."""
        first, last = (number + count if number < 0 else number for number in (self.first, self.last))
        for asked, number in ((self.first, first), (self.last, last)):
            if not 0 <= number < count:
                raise UsageError(f"no layer {asked} in {what}", hint=_range_hint("-l", "layer", count))
        if last < first:
            raise UsageError(f"the layers {self.first}-{self.last} run backwards", hint=_LAYER_HINT)
        return range(first, last + 1)


@dataclass(frozen=True)
class HeadName:
    """A head as typed: `cross.1.2`, `1.2`, or `2` in every chosen layer."""

    stack: str | None
    layer: int | None
    head: int

    def __str__(self) -> str:
        return ".".join(str(part) for part in (self.stack, self.layer, self.head) if part is not None)


@dataclass(frozen=True)
class Selection:
    """The choice, before the model's numbers of layers and heads are known. Empty: everything."""

    layers: tuple[LayerSpan, ...] = ()
    heads: tuple[HeadName, ...] = ()
    stack: str | None = None

    @property
    def chosen(self) -> bool:
        """Whether layers or heads were named, so that their patterns are wanted."""
        return bool(self.layers or self.heads)

    def depth(self, lists: Sequence[BlockList]) -> Mapping[str, int]:
        """How many blocks of each stack must be read and run, by the path of the stack.

        A layer needs all the layers before it. What a decoder reads (an encoder, a tower) is needed whole, unless the
        choice is of that stack alone. Raises UsageError for a layer that isn't there.
        """
        attending = [block_list for block_list in lists if any(block.attends for block in block_list.describe_layers())]
        # Stages follow one another: the last needs all, and which one is meant shows in its name.
        if not self.chosen or not attending or any(block_list.stage for block_list in attending):
            return {}
        # A choice with several stacks to choose from is of the last: encoders and towers come before what reads them.
        target = self._target(attending)
        last = self._last_layer(target)
        self._refuse_without_attention(target)
        limits = {} if last is None else {target.path: last + 1}
        if target.word == "encoder":
            # Nothing of the decoder is looked at; one block keeps its forward pass whole.
            limits |= {other.path: 1 for other in attending if other.word == "decoder"}
        return limits

    def heads_in(self, stack: str, layer: int, layers: int, heads: int) -> tuple[int, ...]:
        """The chosen heads of one layer (of `layers`), in order. Raises UsageError for one beyond `heads`."""
        if self.stack not in (None, stack) or not self._has_layer(layer, layers, stack):
            return ()
        if not self.heads:
            return tuple(range(heads))
        names = [name for name in self.heads if self._means(name, stack, layer, layers)]
        return tuple(sorted({_resolve(name.head, heads, f"layer {layer}", "-H", "head") for name in names}))

    def _means(self, name: HeadName, stack: str, layer: int, layers: int) -> bool:
        if name.stack not in (None, stack):
            return False
        return name.layer is None or _resolve(name.layer, layers, "the model", "-H", "layer") == layer

    def _has_layer(self, layer: int, layers: int, stack: str) -> bool:
        return not self.layers or any(layer in span.within(layers, f"the {stack}") for span in self.layers)

    def _chosen_layers(self, target: BlockList) -> set[int]:
        """The layers that were named, of a stack that has them all."""
        named = {layer for span in self.layers for layer in span.within(target.length, "the model")}
        return named | {name.layer % target.length for name in self.heads if name.layer is not None}

    def _refuse_without_attention(self, target: BlockList) -> None:
        """Some models mix tokens another way in most of their layers: name those that attend."""
        blocks = target.describe_layers()
        chosen = sorted(layer for layer in self._chosen_layers(target) if layer < len(blocks))
        if chosen and not any(blocks[layer].attends for layer in chosen):
            attending = ", ".join(str(layer) for layer, block in enumerate(blocks) if block.attends)
            mixer = blocks[chosen[0]].mixer or "something else"
            message = f"layer {chosen[0]} has no attention: {mixer} mixes its tokens"
            raise UsageError(message, hint=f"the layers with attention are {attending}")

    def _target(self, lists: Sequence[BlockList]) -> BlockList:
        named = self.stack or next((name.stack for name in self.heads if name.stack), None)
        word = "decoder" if named == "cross" else named
        return next((block_list for block_list in lists if block_list.word == word), lists[-1])

    def _layer_of(self, name: HeadName, count: int, what: str) -> int:
        assert name.layer is not None
        layer = _resolve(name.layer, count, what, "-H", "layer")
        if not self._has_layer(layer, count, what):
            raise UsageError(f"head {name} is in none of the layers of -l", hint="leave -l out, or name heads in them")
        return layer

    def _last_layer(self, target: BlockList) -> int | None:
        """The last layer that the choice needs; None where it needs all."""
        what = "the model" if target.word is None else f"the {target.word}"
        last = [max(span.within(target.length, what)) for span in self.layers]
        for name in self.heads:
            if name.layer is not None:
                last.append(self._layer_of(name, target.length, what))
            elif not self.layers:
                return None
        return max(last)


@dataclass(frozen=True)
class HeadsRequest:
    """What to keep of a pass: of which heads, and whether their patterns, in how many bins a side (None: as fits).

    metrics: those that are wanted of long texts, where each has its price; short ones show them all.
    view: what of a pattern is shown.  weighting: what patterns hold.
    thresholds: the least value of a metric that earns a label, where not the usual.
    top: how many keys of what a position reads are told one by one.
    sketches: whether small patterns are kept of stacks with few heads, where no others are wanted.
    steps: from where to where the chosen heads are to be walked through, if they are.

    Raises UsageError for a number of bins that can't be.
    """

    selection: Selection = Selection()
    patterns: bool = False
    bins: int | None = None
    metrics: tuple[str, ...] = METRICS
    view: View = EVERYTHING
    weighting: Weighting = "attention"
    thresholds: Mapping[str, float] = field(default_factory=dict)
    top: int = 10
    sketches: bool = False
    steps: View | None = None

    def __post_init__(self) -> None:
        for option, number, instance in (("--bins", self.bins, 64), ("--top", self.top, 10)):
            if number is not None and (not isinstance(number, int) or number < 1):
                raise UsageError(
                    f"{option} can't be {number!r}: it is a whole number from 1 on",
                    hint=f"for instance {option} {instance}",
                )

    @property
    def shows_patterns(self) -> bool:
        """Whether patterns are what the user asked to see, and not the map of all heads."""
        positions = self.view.query is not None or self.view.key is not None
        return self.selection.chosen or positions or self.weighting == "rollout"

    @property
    def reads_position(self) -> bool:
        """Whether what one position reads is told, head by head and key by key."""
        return self.view.reads_one and self.weighting != "rollout"

    @property
    def reads_rollout(self) -> bool:
        """Whether what reaches one position through all layers is told key by key."""
        return self.view.reads_one and not self.view.reads_one_key and self.weighting == "rollout"


def parse_selection(layer: Spec = None, head: Spec = None, stack: str | None = None) -> Selection:
    """Read `-l`, `-H` and `--stack`.

    >>> parse_selection("0-2,-1").layers
    (LayerSpan(first=0, last=2), LayerSpan(first=-1, last=-1))

    Raises UsageError for what can't be read.
    """
    layers = tuple(_layer_span(part) for part in _parts(layer, _LAYER_HINT))
    heads = tuple(_head_name(part) for part in _parts(head, _HEAD_HINT))
    wrong = next((name for name in heads if None not in (stack, name.stack) and name.stack != stack), None)
    if wrong is not None:
        raise UsageError(f"head {wrong} is not of the stack {stack}", hint="leave --stack out, or name its heads")
    return Selection(layers, heads, stack)


def _parts(spec: Spec, hint: str) -> list[str]:
    if spec is None:
        return []
    items = [spec] if isinstance(spec, str | int) or not isinstance(spec, Sequence) else list(spec)
    parts = [part for item in items for part in str(item).replace(",", " ").split()]
    if not parts or not all(isinstance(item, str | int) for item in items):
        named = " ".join(map(str, items))
        if hint == _HEAD_HINT and any(isinstance(item, float) for item in items):
            # As a number, head 5.10 would be 5.1.
            hint = f'a head is a string: "{parts[0]}"'
        raise UsageError(f"{named!r} names nothing", hint=hint)
    return parts


def _layer_span(part: str) -> LayerSpan:
    match = _LAYERS.fullmatch(part)
    if match is None:
        raise UsageError(f"{part!r} names no layer", hint=_LAYER_HINT)
    first = int(match[1])
    return LayerSpan(first, first if match[2] is None else int(match[2]))


def _head_name(part: str) -> HeadName:
    match = _HEAD.fullmatch(part)
    if match is None:
        raise UsageError(f"{part!r} names no head", hint=_HEAD_HINT)
    layer = match["layer"]
    return HeadName(match["stack"], None if layer is None else int(layer), int(match["head"]))


def _resolve(number: int, count: int, where: str, flag: str, kind: str) -> int:
    index = number + count if number < 0 else number
    if not 0 <= index < count:
        raise UsageError(f"no {kind} {number} in {where}", hint=_range_hint(flag, kind, count))
    return index


def _range_hint(flag: str, kind: str, count: int) -> str:
    return f"{flag} takes {kind}s 0-{count - 1}" if count > 1 else f"there is {kind} 0 alone"
