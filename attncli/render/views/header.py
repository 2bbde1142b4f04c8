"""What the header of a view of heads says: model, stack and tokens; and notes on units, pooling and scope."""

from __future__ import annotations

from attncli.render.common.escape import printable
from attncli.render.views.sentences import count_noun
from attncli.results.heads import HeadsResult, Probe, Stack
from attncli.results.patterns import Pattern
from attncli.results.tokens import Token

#: Between facts.
SEPARATOR = " · "
#: At most so many tokens that are no patches (class, distillation and register tokens) are listed by name.
_FEW_NAMES = 2
NORM_NOTE = "weights times the norm of what is read there (Kobayashi et al. 2020)"
ROLLOUT_NOTE = "how much of each token (columns) reaches each position (rows), heads averaged"
#: Of a rollout, behind its name, and how it was corrected.
CORRECTED = ", corrected by receptive field"
CORRECTED_NOTE = "divided by the rollout of uniform attention, rows scaled to sum to 1: attncli's own formula"


#: What most commands run on, and what `--dtype auto` gives there: headers name only other devices and dtypes.
_USUAL = ("cpu", "float32")


def model_facts(result: HeadsResult, *, full: bool = False) -> list[str]:
    """Device and dtype where they aren't the usual ones, and over how many texts or probes the values are means.

    full: device and dtype in any case.
    """
    run = [fact for fact in (result.device, result.dtype) if full or fact not in _USUAL]
    if result.needle is not None:
        needle = result.needle
        means = f"mean over {count_noun(needle.texts, 'needle')}: {needle.needle_tokens} of {needle.tokens:,} tokens"
        return [*run, means]
    return [*run, *([] if result.texts is None else [_mean_words(result.texts, result.probe)])]


def _mean_words(texts: int, probe: Probe | None) -> str:
    if probe is None:
        return f"mean over {count_noun(texts, 'text')}"
    return f"mean over {count_noun(texts, 'probe')}: {probe.tokens} random tokens, {probe.repeats} times"


def stack_facts(stack: Stack) -> list[str]:
    """The line above each stack: `encoder · bidirectional · 6 layers × 12 heads · 12 tokens`.

    It also says which heads were selected, where that takes few words.
    """
    chosen = _selected_heads(stack)
    sight = _sight(stack)
    return [stack.stack, *([sight] if sight else []), _shape(stack), *([chosen] if chosen else []), *_size_facts(stack)]


def _shape(stack: Stack) -> str:
    counts = [layer.heads for layer in stack.layers]
    with_attention = {count for count in counts if count}
    shape = count_noun(len(counts), "layer")
    if len(with_attention) != 1:
        return f"{shape}, {count_noun(sum(counts), 'head')}"
    among = f" ({len(counts) - counts.count(0)} with attention)" if 0 in counts else ""
    return f"{shape}{among} × {count_noun(with_attention.pop(), 'head')}"


def _selected_heads(stack: Stack) -> str:
    """`head 5 of each layer` or `all heads of layer 2`; empty for all heads of all layers, for a single head, and where
    layers differ in their heads."""
    if any(pattern.head is None for pattern in stack.patterns):
        # A rollout averages all heads.
        return ""
    layers: dict[int, list[int]] = {}
    for head in stack.metrics:
        layers.setdefault(head.layer, []).append(head.head)
    if len(stack.metrics) < 2 or len(set(map(tuple, layers.values()))) > 1:
        return ""
    sizes = {layer.layer: layer.heads for layer in stack.layers if layer.heads}
    everywhere = len(layers) == len(sizes)
    heads = next(iter(layers.values()))
    whole = all(len(heads) == sizes.get(layer) for layer in layers)
    if everywhere and whole:
        return ""
    which = "all heads" if whole else _noun_with_numbers("head", heads)
    where = "each layer" if everywhere and len(layers) > 1 else _noun_with_numbers("layer", sorted(layers))
    return f"{which} of {where}"


def _noun_with_numbers(noun: str, numbers: list[int]) -> str:
    """`head 5`, `heads 0, 3 and 5`."""
    *most, last = map(str, numbers)
    return f"{noun}s {', '.join(most)} and {last}" if most else f"{noun} {last}"


def _sight(stack: Stack) -> str:
    """Which keys a query may attend to: `causal` or `bidirectional`; empty for cross-attention, which sees all keys."""
    window = stack.key_medium.window
    if is_cross(stack):
        return ""
    if window is not None:
        return f"bidirectional in windows of {window} × {window}"
    return "causal" if stack.causal else "bidirectional" if stack.full else "bidirectional, partly masked"


def _size_facts(stack: Stack) -> list[str]:
    """How many positions look at how many."""
    queries, keys = len(stack.queries), len(stack.keys)
    all_queries, all_keys = stack.whole or (queries, keys)
    of_text = stack.key_medium.kind == "tokens"
    if not queries:
        return ["decoder tokens look at encoder tokens"] if is_cross(stack) else []
    if is_cross(stack):
        verb = "looks at" if queries == 1 else "look at"
        looking = _part_of_whole(queries, all_queries, f"decoder {stack.unit}")
        read = _part_of_whole(keys, all_keys, f"encoder {stack.unit}") if of_text else _key_count(stack)
        return [f"{looking} {verb} {read}"]
    if not of_text:
        return [_key_count(stack)]
    if stack.unit != "token" and (stack.reading or stack.ranking):
        # The query is one position within a word or line, not all of it.
        return [f"{count_noun(all_keys, stack.unit)}, seen from one position"]
    at = "" if keys == all_keys or stack.ranking else f", looking at {keys:,} of {all_keys:,}"
    return [_part_of_whole(queries, all_queries, stack.unit) + at]


def _part_of_whole(count: int, whole: int, noun: str) -> str:
    """`12 tokens`, or `1 of 12 tokens`."""
    return count_noun(whole, noun) if count == whole else f"{count:,} of {count_noun(whole, noun)}"


def _key_count(stack: Stack) -> str:
    """The keys of a picture or a sound: `14 × 14 patches and [CLS]`, or `1,500 frames of 0.02 s`."""
    medium, keys, grid = stack.key_medium, stack.keys, stack.key_medium.grid
    if medium.seconds is not None:
        return f"{count_noun(len(keys), 'frame')} of {medium.seconds:.3g} s"
    if grid is None:
        return count_noun(len(keys), "position")
    others = [printable(key.token) for key in keys if key.index not in grid.patches]
    patches = len(keys) - len(others)
    whole = patches == len(grid.patches)
    count = f"{grid.rows} × {grid.columns} patches" if whole else count_noun(patches, "patch", "patches")
    names = ", ".join(others) if len(others) <= _FEW_NAMES else f"{others[0]} … {others[-1]}"
    return f"{count} and {names}" if others else count


# --- what a stack is of


def is_cross(stack: Stack) -> bool:
    """Whether it is cross attention: rows and columns are of different sequences."""
    return stack.stack == "cross"


def has_text(stack: Stack) -> bool:
    """Whether rows and columns are tokens of one text, which can be written out, unlike patches and frames."""
    return bool(stack.keys) and not is_cross(stack) and stack.key_medium.kind == "tokens"


def written_tokens(stack: Stack) -> tuple[Token, ...]:
    """The keys of a text as it is written out: each picture in it is one token, `[picture]`."""
    places: dict[int, list[int]] = {}
    for grid in stack.key_medium.pictures:
        places.setdefault(grid.picture, []).extend(place for place in grid.places if place is not None)
    spans = {number: range(min(each), max(each) + 1) for number, each in places.items() if each}
    tokens, before = [], None
    for token in stack.keys:
        number = next((number for number, span in spans.items() if token.index in span), None)
        if number is not None and number != before:
            name = "[picture]" if len(spans) == 1 else f"[picture {number + 1}]"
            tokens.append(token._replace(token=name, text=name))
        elif number is None:
            tokens.append(token)
        before = number
    return tuple(tokens)


def has_single_key(stack: Stack) -> bool:
    """Whether there is only one key, so that all heads look at the same."""
    return len(stack.keys) == 1 and (stack.whole is None or stack.whole[1] == 1)


def single_key_note(stack: Stack) -> str:
    """What stands in the place of a picture where there is only one key."""
    return f"there is one {unit_noun(stack)} to look at, and no head can look elsewhere"


def unit_noun(stack: Stack) -> str:
    """The noun for one key: token, word, line, patch or frame."""
    return {"patches": "patch", "frames": "frame"}.get(stack.key_medium.kind, stack.unit)


def whole_noun(stack: Stack) -> str:
    """The noun for what the keys are part of: text, picture or sound."""
    return {"patches": "picture", "frames": "sound"}.get(stack.key_medium.kind, "text")


# --- notes


def unit_note(stack: Stack) -> str:
    """What rows and columns are and how they are numbered, where these are not tokens; else empty."""
    return {
        "word": "rows and columns are words, and their numbers those of their first tokens",
        "line": "rows and columns are lines, numbered from 1",
    }.get(stack.unit, "")


def scope_note(stack: Stack, *, weighting: str = "attention") -> str:
    """What the metrics cover, where that is more than the picture or in other units than it; else empty."""
    # Means over many texts have no rows and columns.
    part = bool(stack.queries) and stack.whole is not None and stack.whole != (len(stack.queries), len(stack.keys))
    scopes = []
    if part or stack.unit != "token":
        beyond = ", not of the part above" if part else ""
        finer = f", token by token (not {stack.unit} by {stack.unit})" if stack.unit != "token" else ""
        scopes.append(f"of the whole {whole_noun(stack)}{beyond}{finer}")
    if weighting == "norm":
        scopes.append("of the weights alone, without norms")
    return f"metrics are {', and '.join(scopes)}" if scopes else ""


def pooling_facts(stack: Stack, shown: Pattern) -> list[str]:
    """Of a pooled picture, how many weights are in how many cells, and how; else nothing."""
    if shown.bins is None:
        return []
    rows, columns = shown.weights.shape
    whole = f"{len(stack.queries):,} × {len(stack.keys):,} weights in {rows} × {columns} cells:"
    return [whole, "rows averaged, columns summed"]


def averaged_noun(result: HeadsResult) -> str:
    """The noun for what values are means over: texts, probes or needles."""
    if result.needle is not None:
        return "needles"
    return "texts" if result.probe is None else "probes"
