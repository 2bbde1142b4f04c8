"""What the user asks to see: layers and heads (`-l 0-2,5`, `-H 5.5,cross.1.2`, `--stack decoder`), rows and columns.

`Selection` is the choice of layers and heads, `View` which queries and keys of a pattern are shown, and `HeadsRequest`
both with everything else that is to be computed. Imports no torch: a request is checked before torch is loaded.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from attncli.attention.positions import Position, Span, group_spans, word_spans
from attncli.errors import UsageError
from attncli.metrics import METRICS
from attncli.results.tokens import Token

if TYPE_CHECKING:
    from attncli.attention.effects.request import EffectsPlan
    from attncli.models.capture.structure import BlockList

Unit = Literal["token", "word", "line"]


@dataclass(frozen=True)
class View:
    """What is shown of a pattern: which queries and keys, by what unit, and whether without special tokens.

    line_starts: the index of each line's first character, for the unit `line`.
    """

    query: Position | None = None
    key: Position | None = None
    by: Unit = "token"
    hide_special: bool = False
    line_starts: tuple[int, ...] = ()

    @property
    def has_one_query(self) -> bool:
        """Whether there is a single query position (of one or several tokens), so that keys can be ranked."""
        return self.query is not None and not self.query.is_slice

    @property
    def has_one_key(self) -> bool:
        """Whether there is a single query and a single key position, so that heads can be ranked by one weight."""
        return self.has_one_query and self.key is not None and not self.key.is_slice

    @property
    def has_one_column(self) -> bool:
        """Whether there is a single key position and no query, so that queries can be ranked."""
        return self.query is None and self.key is not None and not self.key.is_slice

    def unit_spans(self, tokens: Sequence[Token], position: Position | None) -> list[Span]:
        """The tokens of each row or column on one side, half open. A word or a line is cut to the chosen positions.

        position: those to show; None for all.
        Raises UsageError for a position that isn't there, or where special tokens are hidden and no others are left.
        """
        start, stop = (0, len(tokens)) if position is None else position.span(tokens)
        spans = [(max(a, start), min(b, stop)) for a, b in self._units(tokens) if a < stop and b > start]
        if not self.hide_special:
            return spans
        ordinary = [(a, b) for a, b in spans if not all(token.special for token in tokens[a:b])]
        if not ordinary:
            raise _only_special_error(tokens, position, start, stop)
        return ordinary

    def _units(self, tokens: Sequence[Token]) -> list[Span]:
        if self.by == "word":
            return word_spans(tokens)
        lines = (
            None if self.by == "token" or token.start is None else bisect_right(self.line_starts, token.start)
            for token in tokens
        )
        return group_spans(lines)


#: A view that leaves nothing out.
EVERYTHING = View()


def _only_special_error(tokens: Sequence[Token], position: Position | None, start: int, stop: int) -> UsageError:
    """The error where only special tokens were chosen and these are hidden; names the nearest other token."""
    others = [index for index, token in enumerate(tokens) if not token.special]
    if position is None or not others:
        return UsageError("--hide-special leaves no tokens: all of them are special", hint="leave --hide-special out")
    nearest = min(others, key=lambda index: abs(index - start))
    names = ", ".join(token.token for token in tokens[start:stop])
    are = "is a special token" if stop - start == 1 else "are special tokens"
    return UsageError(
        f"{position.flag} {position.typed}: {names} {are}, which --hide-special hides",
        hint=f"leave --hide-special out; the nearest other token is {nearest} ({tokens[nearest].text.strip()})",
    )


def line_starts(text: str) -> tuple[int, ...]:
    """The index of the first character of each line."""
    return (0, *(index + 1 for index, character in enumerate(text) if character == "\n"))


# --- Layers and heads

#: What `-l`, `-H` and the Python keywords `layer=`, `head=` take.
SelectionSpec = str | int | Sequence[str | int] | None
_LAYERS = re.compile(r"(-?\d+)(?:-(-?\d+))?")
_HEAD = re.compile(r"(?:(?:(?P<stack>[a-z_]\w*)\.)?(?P<layer>-?\d+)\.)?(?P<head>-?\d+)", re.IGNORECASE)
_LAYER_HINT = "-l accepts layers from 0 and ranges of them: 3, 0-2,5 or -1 for the last one"
_HEAD_HINT = "-H accepts layer.head as printed (5.5,6.9 or cross.1.2), or head numbers together with -l"


@dataclass(frozen=True)
class LayerSpan:
    """Layers first…last, both inclusive; negative numbers count from the end."""

    first: int
    last: int

    def within(self, count: int, what: str) -> range:
        """The layers among `count`. Raises UsageError for one that isn't there.

        what: the stack or model, for the message.
        """
        first, last = (_resolve_index(number, count, what, "-l", "layer") for number in (self.first, self.last))
        if last < first:
            raise _backwards(self)
        return range(first, last + 1)


def _backwards(span: LayerSpan) -> UsageError:
    return UsageError(f"-l {span.first}-{span.last}: the first layer comes after the last one", hint=_LAYER_HINT)


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
    """The chosen layers, heads and stack, before it is known how many the model has. Empty: everything."""

    layers: tuple[LayerSpan, ...] = ()
    heads: tuple[HeadName, ...] = ()
    stack: str | None = None

    @property
    def chosen(self) -> bool:
        """Whether layers or heads were named, so that their patterns are shown."""
        return bool(self.layers or self.heads)

    def depth(self, lists: Sequence[BlockList]) -> Mapping[str, int]:
        """How many blocks of each stack must be loaded and run, by the path of the stack.

        A layer needs all the layers before it. What a decoder reads (an encoder, a tower) is needed whole, unless only
        that stack was chosen. Raises UsageError for a layer that isn't there.
        """
        attending = [block_list for block_list in lists if any(block.attends for block in block_list.describe_layers())]
        # Stages follow one another, and the last needs all.
        if not self.chosen or not attending or any(block_list.stage for block_list in attending):
            return {}
        # Encoders and towers come before what reads them, so without a name the last stack decides.
        stack = self.stack or next((name.stack for name in self.heads if name.stack), None)
        word = "decoder" if stack == "cross" else stack
        target = next((block_list for block_list in attending if block_list.word == word), attending[-1])
        last = self._last_layer(target)
        self._require_attention(target)
        limits = {} if last is None else {target.path: last + 1}
        if target.word == "encoder":
            # The decoder isn't shown, but its forward pass needs at least one block.
            limits |= {other.path: 1 for other in attending if other.word == "decoder"}
        return limits

    def heads_in(self, stack: str, layer: int, layers: int, heads: int) -> tuple[int, ...]:
        """The chosen heads of one layer (of `layers`), in order. Raises UsageError for one beyond `heads`."""
        if self.stack not in (None, stack) or not self._has_layer(layer, layers, stack):
            return ()
        if not self.heads:
            return tuple(range(heads))
        of_layer = (
            name
            for name in self.heads
            if name.stack in (None, stack)
            and (name.layer is None or _resolve_index(name.layer, layers, "the model", "-H", "layer") == layer)
        )
        return tuple(sorted({_resolve_index(name.head, heads, f"layer {layer}", "-H", "head") for name in of_layer}))

    def _has_layer(self, layer: int, layers: int, stack: str) -> bool:
        return not self.layers or any(layer in span.within(layers, f"the {stack}") for span in self.layers)

    def _require_attention(self, target: BlockList) -> None:
        """Raise UsageError if no chosen layer has attention: hybrid models mix tokens otherwise in most layers."""
        blocks = target.describe_layers()
        named = {layer for span in self.layers for layer in span.within(target.length, "the model")}
        named |= {name.layer % target.length for name in self.heads if name.layer is not None}
        chosen = sorted(layer for layer in named if layer < len(blocks))
        if chosen and not any(blocks[layer].attends for layer in chosen):
            attending = ", ".join(str(layer) for layer, block in enumerate(blocks) if block.attends)
            mixer = blocks[chosen[0]].mixer or "something else"
            message = f"layer {chosen[0]} has no attention: its tokens are mixed by {mixer}"
            raise UsageError(message, hint=f"the layers with attention are {attending}")

    def _last_layer(self, target: BlockList) -> int | None:
        """The last layer that must be run; None for all."""
        what = "the model" if target.word is None else f"the {target.word}"
        last = [max(span.within(target.length, what)) for span in self.layers]
        for name in self.heads:
            if name.layer is not None:
                last.append(_resolve_index(name.layer, target.length, what, "-H", "layer"))
                if not self._has_layer(last[-1], target.length, what):
                    message = f"-H {name} is not in a layer that -l chooses"
                    raise UsageError(message, hint="leave -l out, or choose heads in its layers")
            elif not self.layers:
                return None
        return max(last)


def parse_selection(layer: SelectionSpec = None, head: SelectionSpec = None, stack: str | None = None) -> Selection:
    """Read `-l`, `-H` and `--stack`.

    >>> parse_selection("0-2,-1").layers
    (LayerSpan(first=0, last=2), LayerSpan(first=-1, last=-1))

    Raises UsageError for input that can't be parsed.
    """
    layers, heads = [], []
    for part in _split_spec(layer, "layer"):
        match = _LAYERS.fullmatch(part)
        if match is None:
            raise UsageError(f"-l: {part!r} is not a layer", hint=_LAYER_HINT)
        span = LayerSpan(int(match[1]), int(match[2] or match[1]))
        if span.last < span.first and (span.last < 0) == (span.first < 0):
            raise _backwards(span)
        layers.append(span)
    for part in _split_spec(head, "head"):
        match = _HEAD.fullmatch(part)
        if match is None:
            raise UsageError(f"-H: {part!r} is not a head", hint=_HEAD_HINT)
        heads.append(HeadName(match["stack"], int(match["layer"]) if match["layer"] else None, int(match["head"])))
    wrong = next((name for name in heads if None not in (stack, name.stack) and name.stack != stack), None)
    if wrong is not None:
        raise UsageError(
            f"-H {wrong} is not in the stack {stack}, which --stack chooses",
            hint="leave --stack out, or choose heads of that stack",
        )
    return Selection(tuple(layers), tuple(heads), stack)


def _split_spec(spec: SelectionSpec, kind: str) -> list[str]:
    if spec is None:
        return []
    items = [spec] if isinstance(spec, str | int) or not isinstance(spec, Sequence) else list(spec)
    parts = [part for item in items for part in str(item).replace(",", " ").split()]
    if not parts or not all(isinstance(item, str | int) for item in items):
        typed = " ".join(map(str, items))
        flag, hint = ("-l", _LAYER_HINT) if kind == "layer" else ("-H", _HEAD_HINT)
        if kind == "head" and any(isinstance(item, float) for item in items):
            # As a number, head 5.10 would be 5.1.
            hint = f'give a head as a string: "{parts[0]}"'
        raise UsageError(f"{flag}: {typed!r} is not a {kind}", hint=hint)
    return parts


def _resolve_index(number: int, count: int, where: str, flag: str, kind: str) -> int:
    index = number + count if number < 0 else number
    if not 0 <= index < count:
        hint = f"{flag} accepts {kind}s 0-{count - 1}" if count > 1 else f"there is only {kind} 0"
        raise UsageError(f"there is no {kind} {number} in {where}", hint=hint)
    return index


# --- The request

#: The weights of patterns: attention itself, times the norm of the value vectors, or rolled out over layers.
Weighting = Literal["attention", "norm", "rollout"]


@dataclass(frozen=True)
class HeadsRequest:
    """What to compute in a forward pass.

    selection: of which layers and heads.
    patterns: whether their patterns are kept; bins: in how many bins a side, None for as many as fit.
    metrics: which metrics are computed for long texts, where each costs time; short texts get all.
    view: which part of a pattern is shown.  weighting: the weights that patterns hold.
    thresholds: label thresholds that replace those of `attention.claims`.
    top: how many keys are listed of the row of one position.
    sketches: whether small patterns are kept of stacks with few heads, where `patterns` is off.
    links: whether the strongest link of each head is looked for, in a single text.
    steps: the query and keys to walk the chosen heads through, if any.
    effects: what is predicted, and which effects of heads are measured, if any.
    receptive_field: whether a rollout is divided by that of uniform attention.
    read_at: the position whose strongest keys are noted for every head, in the stack that predicts.
    traced: the positions of that stack whose rows are summed up, those that new tokens were predicted at.

    Raises UsageError unless `bins` and `top` are positive integers.
    """

    selection: Selection = Selection()
    patterns: bool = False
    bins: int | None = None
    metrics: tuple[str, ...] = tuple(METRICS)
    view: View = EVERYTHING
    weighting: Weighting = "attention"
    thresholds: Mapping[str, float] = field(default_factory=dict)
    top: int = 10
    sketches: bool = False
    links: bool = False
    steps: View | None = None
    effects: EffectsPlan | None = None
    read_at: int | None = None
    receptive_field: bool = False
    traced: range | None = None

    def __post_init__(self) -> None:
        for option, number, instance in (("--bins", self.bins, 64), ("--top", self.top, 10)):
            if number is not None and (not isinstance(number, int) or number < 1):
                raise UsageError(
                    f"{option} can't be {number!r}: it has to be a whole number of at least 1",
                    hint=f"for instance {option} {instance}",
                )

    @property
    def shows_patterns(self) -> bool:
        """Whether the user asked for patterns, and not for the map of all heads."""
        positions = self.view.query is not None or self.view.key is not None
        return self.selection.chosen or positions or self.weighting == "rollout"

    @property
    def reads_position(self) -> bool:
        """Whether the row of one position is reported, by heads or keys."""
        return self.view.has_one_query and self.weighting != "rollout"

    @property
    def reads_column(self) -> bool:
        """Whether the column of one key is reported, by queries and heads."""
        return self.view.has_one_column and self.weighting != "rollout"

    @property
    def reads_rollout(self) -> bool:
        """Whether the rollout of one position is reported, by keys."""
        return self.view.has_one_query and not self.view.has_one_key and self.weighting == "rollout"
