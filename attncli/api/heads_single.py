"""Run `heads` on one text or one list of ids, and build the result of any run with its warnings and notes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from attncli.api.chat_input import is_conversation, write_chat
from attncli.api.effects import EffectsRun, Opened, add_effects, find_position, prepare_run, require_head
from attncli.api.loading import ModelLoader, id_lists, model_limits, one_id_list, provenance
from attncli.api.requests import EncodingRequest
from attncli.attention.effects.patch_texts import check_same_length
from attncli.attention.positions import Position
from attncli.attention.selection import EVERYTHING, HeadName, line_starts, parse_selection
from attncli.errors import UsageError
from attncli.metrics import PROBED, REPEAT_METRICS
from attncli.results.generated import Generated
from attncli.results.heads import HeadsResult, Stack
from attncli.results.tokens import Token
from attncli.tokens.encode import EncodedText, encode, from_ids, was_cut

if TYPE_CHECKING:
    from torch import Tensor

    from attncli.attention.effects.request import EffectsPlan
    from attncli.attention.inputs import ModelInputs
    from attncli.attention.selection import HeadsRequest, Selection
    from attncli.models.capture.structure import BlockList
    from attncli.models.loading.loaded_model import LoadedModel
    from attncli.models.loading.weights import Depth
    from attncli.models.tokenizers.types import Tokenizer
    from attncli.results.alignment import AlignedPair
    from attncli.results.steps import Steps

#: Up to so many tokens, special ones included, nearly every head gives most of its weight to a neighbour or the first.
_FEW_TOKENS = 3

#: The note where one position of a long text is shown without metrics.
_NO_METRICS = "the metrics of heads are not computed for one position of a long text (--metric NAME computes one)"

START_ALONE = "the decoder's input was only its start token (--target TEXT or --generate N gives it more)"


class HeadsInput(NamedTuple):
    """What `heads` runs a model on: one text or many, ids, random tokens, a picture or a sound; and a decoder's input.

    The fields are those of `attncli.heads`; encoding: how texts are tokenized.  needle: tokens of the text of
    `--needle`.  qk_ov: no text, the weights alone.  columns: what the fields of several texts are.
    each_pair: takes pairs of texts as they are aligned; the result doesn't hold them then.
    chat: write the text by the chat template; None: where there are pictures and a template that places them.
    inputs: of the user's own module.  tokens: names for the positions of ids, or of these inputs.
    """

    text: Any = None
    input_ids: Any = None
    probe: bool = False
    seed: int = 0
    target: str | None = None
    target_ids: Sequence[int] | None = None
    generate: int | None = None
    image: Any = None
    video: Any = None
    audio: Any = None
    processor: Any = None
    encoding: EncodingRequest = EncodingRequest()
    needle: int | None = None
    qk_ov: bool = False
    columns: str | Sequence[str] | None = None
    chat: bool | None = None
    inputs: Any = None
    tokens: Sequence[str] = ()
    each_pair: Callable[[AlignedPair], None] | None = None

    @property
    def has_text(self) -> bool:
        """Whether there is a text, or ids."""
        return self.text is not None or self.input_ids is not None

    @property
    def without_text(self) -> str | None:
        """The option that takes the place of a text, if one was given."""
        given = {"--probe": self.probe, "--needle": self.needle is not None, "--qk-ov": self.qk_ov}
        return next((flag for flag, is_given in given.items() if is_given), None)

    @property
    def has_media(self) -> bool:
        """Whether there is a picture, a video or a sound, so that a text is optional."""
        return not (self.image is self.video is self.audio is None)

    @property
    def target_flags(self) -> list[str]:
        """The options that give a decoder its input: a text, its ids from its start token on, or what is generated."""
        given = {"--target": self.target, "--target-ids": self.target_ids, "--generate": self.generate}
        return [flag for flag, value in given.items() if value is not None]

    @property
    def is_batch(self) -> bool:
        """Whether there may be more than one input, which are averaged: the result then has metrics and no patterns."""
        if self.chat and is_conversation(self.text):
            return False
        several_lists = self.input_ids is not None and len(id_lists(self.input_ids)) > 1
        return self.without_text is not None or several_lists or not isinstance(self.text, str | None)

    def encode(self, tokenizer: Tokenizer | None) -> EncodedText:
        """Tokenize the text, or look the ids up. tokenizer: None where the model of given ids has none.

        Raises UsageError for anything but one text or one list of ids, and for more tokens than the tokenizer's limit.
        """
        text, (pair, no_special, truncate) = self.text, self.encoding
        if (text is None) == (self.input_ids is None):
            raise UsageError(
                "a text or a list of token ids is missing", hint="give a text, or token ids with --input-ids"
            )
        if self.input_ids is not None:
            if pair is not None:
                raise UsageError(
                    "--pair and --input-ids can't be combined", hint="leave one of them out; --pair needs a text"
                )
            encoded = from_ids(tokenizer, one_id_list(self.input_ids))
            return encoded._replace(tokens=name_tokens(encoded.tokens, self.tokens))
        if self.tokens:
            raise UsageError("--tokens names token ids, and this is a text", hint="leave --tokens out")
        assert tokenizer is not None
        if not isinstance(text, str) or not isinstance(pair, str | None):
            raise UsageError("the text has to be a string", hint="give one string, and a second one as pair=")
        if not text.strip() or (pair is not None and not pair.strip()):
            what = "empty" if not text or pair == "" else "only white space"
            raise UsageError(f"the text is {what}", hint="give a text, or token ids with --input-ids")
        encoded = encode(tokenizer, text, pair=pair, special=not no_special, truncate=truncate)
        limit = tokenizer.max_length
        if limit is not None and len(encoded.tokens) > limit:
            raise _too_long(len(encoded.tokens), limit)
        return encoded

    def fit_to_model(self, encoded: EncodedText, loaded: LoadedModel) -> EncodedText:
        """The tokens cut to the model's limit; the tokenizer has applied its own limit already."""
        limit = loaded.max_positions
        if limit is None or len(encoded.tokens) <= limit:
            return encoded
        if not self.encoding.truncate:
            raise _too_long(len(encoded.tokens), limit)
        return EncodedText(encoded.tokens[:limit], encoded.segments[:limit], encoded.sequences[:limit])

    def was_cut(self, encoded: EncodedText, fitting: EncodedText) -> bool:
        """Whether the tokenizer's or the model's limit cut some of the text off."""
        texts = [text for text in (self.text, self.encoding.pair) if isinstance(text, str)]
        return self.encoding.truncate and (fitting is not encoded or was_cut(encoded, texts))


def name_tokens(tokens: tuple[Token, ...], names: Sequence[str]) -> tuple[Token, ...]:
    """The tokens with these names, if there are any. Raises UsageError for another number of names."""
    if not names:
        return tokens
    if len(names) != len(tokens):
        raise UsageError(
            f"--tokens names {len(names):,} positions, and there are {len(tokens):,}",
            hint="give a name for each position, with spaces between",
        )
    return tuple(token._replace(token=name, text=name) for token, name in zip(tokens, names, strict=True))


def run_single_text(inputs: HeadsInput, loader: ModelLoader, request: HeadsRequest) -> HeadsResult:
    """Run the model on one text, and its decoder on the target."""
    files = loader.files()
    model_limits(files).check_selection(request.selection)
    tokenizer = loader.find_tokenizer(files, needed=inputs.input_ids is None or inputs.target is not None)
    chat_warnings: tuple[str, ...] = ()
    if inputs.chat:
        written, chat_warnings = write_chat(inputs.text, loader, files)
        inputs = inputs._replace(text=written, encoding=inputs.encoding._replace(no_special=True))
    if inputs.chat and request.view.by == "line":
        request = replace(request, view=replace(request.view, line_starts=line_starts(inputs.text)))
    encoded = inputs.encode(tokenizer)
    # Report a missing position before the model is loaded. With a target, or an adapter, which may add virtual tokens,
    # positions are only known later.
    view = request.steps or request.view
    later = bool(inputs.target_flags) or files is None or files.base is not None
    plan = request.effects
    for position in () if later else (view.query, view.key, None if plan is None else plan.query):
        view.unit_spans(encoded.tokens, position)
    if view.hide_special and not later and not any(token.special for token in encoded.tokens):
        raise UsageError("--hide-special: the text has no special tokens", hint="leave --hide-special out")
    generates = inputs.generate is not None
    depth = full_depth(request.selection) if generates or plan is not None else request.selection.depth
    loaded = loader.load(files, depth, writes=generates, predicts=plan is not None)
    if any(token.id == loaded.picture_token for token in encoded.tokens):
        raise UsageError("the text has a placeholder for a picture, and no picture was given", hint="add --image FILE")
    if plan is not None:
        _find_own_head(loaded, encoded, plan)
        require_head(loaded, plan)
    opened = Opened(loaded, tokenizer, files, loader.progress)
    result, run = prepare_text(opened, inputs, encoded, request)
    result = replace(result, warnings=(*result.warnings, *chat_warnings))
    return result if run is None else add_effects(result, run)


def _find_own_head(loaded: LoadedModel, text: EncodedText, plan: EffectsPlan) -> None:
    """Find what makes the logits of a module of the user's own, which nothing names. Raises as `find_own_head` does."""
    from attncli.attention.effects.own_head import find_own_head
    from attncli.attention.inputs import build_inputs

    find_own_head(loaded, build_inputs(loaded, [text.tokens], [text.segments]).arguments, plan)


def prepare_text(
    model: Opened, inputs: HeadsInput, encoded: EncodedText, request: HeadsRequest
) -> tuple[HeadsResult, EffectsRun | None]:
    """The result of one text, and what its effects are measured in, if some are asked for."""
    fitting = inputs.fit_to_model(encoded, model.loaded)
    pair = add_target(model.loaded, model.tokenizer, fitting, inputs)
    cut = f"the text was truncated to the {len(fitting.tokens):,} tokens that the model accepts"
    warnings = (cut,) if inputs.was_cut(encoded, fitting) else ()
    return _run(model, pair, request, warnings=warnings)


def _run(
    model: Opened, given: TextAndTarget, request: HeadsRequest, *, warnings: tuple[str, ...]
) -> tuple[HeadsResult, EffectsRun | None]:
    from attncli.api.generated import add_readings
    from attncli.attention.inputs import build_inputs
    from attncli.attention.stacks import collect, own_names
    from attncli.attention.steps import same_head_in_other_stacks, sources_notes, walk_heads

    loaded, plan = model.loaded, request.effects
    if plan is not None:
        request = replace(request, read_at=_outcome_position(loaded, given, plan))
    inputs = build_inputs(
        loaded,
        [given.text.tokens],
        [given.text.segments],
        sequences=[given.text.sequences],
        target=given.target,
    )
    head_note: list[str] = []
    if request.steps is not None and not request.selection.heads:
        request, head_note = _choose_head(loaded, inputs, request)
    whole = request.view == EVERYTHING and request.weighting == "attention"
    looked = replace(request, sketches=not request.patterns, links=whole, traced=written_from(given))
    collected = collect(loaded, inputs, looked)
    stacks = tuple(stack.build() for stack in collected)
    warnings = (*warnings, *unread_warnings(collected[0].collector.unread_stacks(), request.selection))
    notes = (
        *own_names(collected),
        *target_notes(given),
        *_few_tokens_note(given, request),
        *metric_notes(stacks, "no token occurs twice in the text"),
    )
    result = heads_result(loaded, stacks, request, warnings=warnings, notes=notes)
    result = replace(result, generated=None if given.generated is None else add_readings(given.generated, collected))
    if plan is not None and request.read_at is not None:
        source = _source_inputs(model, given, plan)
        run = prepare_run(model, inputs, collected, plan, position=request.read_at, top=request.top, source=source)
        return result, run
    if request.steps is None:
        return result, None
    steps = walk_heads(collected, request.steps)
    others = same_head_in_other_stacks(collected, request.steps, steps)
    notes = (*result.notes, *head_note, *_steps_note(steps[0], others), *sources_notes(steps))
    return replace(result, steps=steps, notes=notes), None


def _choose_head(loaded: LoadedModel, inputs: ModelInputs, request: HeadsRequest) -> tuple[HeadsRequest, list[str]]:
    """The request with the head that reads an ordinary token most from the query of `--steps`, and a note on it.

    Without a query, from the last ordinary token.  Where no head reads an ordinary token, head 0 of the first layer.
    """
    from attncli.attention.stacks import collect

    assert request.steps is not None
    of_decoder = inputs.target is not None and request.selection.stack in ("decoder", "cross")
    side = inputs.target if of_decoder and inputs.target is not None else inputs.main
    query = request.steps.query or _last_ordinary(side.tokens[0])
    reading = replace(request, steps=None, patterns=False, metrics=(), view=replace(EVERYTHING, query=query))
    stacks = [stack.build() for stack in collect(loaded, inputs, reading)]
    stack = next((stack for stack in stacks if stack.reading and stack.reading.strongest), None)
    if stack is None or stack.reading is None:
        first = next(head for stack in stacks for head in stack.metrics)
        return replace(request, selection=replace(request.selection, heads=(_named(first.name),))), []
    best = stack.reading.strongest[0]
    # Without its name, the first stack is the one that is walked, and a note tells of the others.
    head = _named(best.name) if stack is not stacks[0] else replace(_named(best.name), stack=None)
    selection = replace(request.selection, heads=(head,))
    place = best.place or 0
    note = (
        f"from {_quoted(stack.reading.query)}, head {best.name} stands out most: weight {best.weight:.2f} on "
        f"{_quoted(stack.keys[place])}, uniform attention {best.uniform or 0.0:.2f}; choose another head with -H"
    )
    return replace(request, selection=selection), [note]


def _last_ordinary(tokens: Sequence[Token]) -> Position:
    ordinary = [index for index, token in enumerate(tokens) if not token.special and token.index >= 0]
    first = sum(token.index < 0 for token in tokens)
    return Position(str((ordinary[-1] if ordinary else len(tokens) - 1) - first), "--query")


def _named(name: str) -> HeadName:
    (head,) = parse_selection(head=name).heads
    return head


def _quoted(token: Token) -> str:
    return f"{token.text.strip() or token.token} (token {token.index})"


def _source_inputs(model: Opened, given: TextAndTarget, plan: EffectsPlan) -> ModelInputs | None:
    """The inputs of the text that heads are patched from, which goes on as the text does; None without one.

    Raises UsageError where it has another number of tokens.
    """
    if plan.patch_from is None:
        return None
    from attncli.attention.inputs import build_inputs

    if model.tokenizer is None:
        raise UsageError("--patch-from is a text, and the model has no tokenizer", hint="name a model with one (-m)")
    text = given.text
    special = any(token.special for token in text.tokens)
    encoded = encode(model.tokenizer, plan.patch_from, special=special)
    written = 0 if given.target is not None or given.generated is None else len(given.generated.ids)
    own = len(text.tokens) - written
    check_same_length(text.tokens[:own], encoded.tokens)
    segments = (*encoded.segments, *text.segments[own:])
    return build_inputs(model.loaded, [(*encoded.tokens, *text.tokens[own:])], [segments], target=given.target)


def _outcome_position(loaded: LoadedModel, given: TextAndTarget, plan: EffectsPlan) -> int:
    tokens = given.text.tokens if given.target is None else given.target
    return find_position(loaded, tokens, plan, 0 if given.generated is None else len(given.generated.ids))


def _few_tokens_note(given: TextAndTarget, request: HeadsRequest) -> Iterator[str]:
    """A note where heads are labelled by what they do, and the text is so short that nearly all do the same."""
    count = len(given.text.tokens)
    if (
        count <= _FEW_TOKENS
        and request.effects is None
        and request.view == EVERYTHING
        and not request.selection.chosen
        and request.steps is None
    ):
        several = f"{count} token{'s are' if count > 1 else ' is'}"
        yield f"{several} too few to tell heads apart; give a longer text, or use --probe"


def _too_long(tokens: int, limit: int) -> UsageError:
    return UsageError(
        f"the text has {tokens:,} tokens, and the model accepts at most {limit:,}", hint="add --truncate to shorten it"
    )


def _steps_note(steps: Steps, others: Sequence[str]) -> Iterator[str]:
    """A note on other stacks that `--steps` can show. others: a head of each."""
    if others:
        heads = " or ".join(f"-H {name}" for name in others)
        yield f"the steps are in the {steps.stack}; {heads} shows another stack"


# --- The decoder input, and generated text


def check_target(inputs: HeadsInput) -> None:
    """Raise UsageError for two ways of giving the decoder input together, and for an invalid value."""
    flags, text, generate = inputs.target_flags, inputs.target, inputs.generate
    if len(flags) > 1:
        raise UsageError(f"{' and '.join(flags)} can't be combined", hint="leave one of them out")
    if text is not None and (not isinstance(text, str) or not text):
        raise UsageError(
            "--target is empty" if text == "" else "the target has to be a string", hint="give a text for the decoder"
        )
    if generate is not None and (not isinstance(generate, int) or generate < 1):
        raise UsageError(f"--generate can't be {generate}", hint="it has to be a whole number of at least 1")
    if inputs.target_ids is not None:
        one_id_list(inputs.target_ids, "target ids")


class TextAndTarget(NamedTuple):
    """A text, the decoder input (None in models of one stack), and what the model generated of either.

    cut: whether the target was truncated.
    """

    text: EncodedText
    target: tuple[Token, ...] | None = None
    generated: Generated | None = None
    cut: bool = False


def written_from(given: TextAndTarget) -> range | None:
    """The positions that the new tokens were predicted at: those before them. None without new tokens."""
    if given.generated is None or not given.generated.ids:
        return None
    tokens = given.text.tokens if given.target is None else given.target
    return range(len(tokens) - len(given.generated.ids) - 1, len(tokens) - 1)


def full_depth(selection: Selection) -> Depth:
    """All layers, as generating needs them; the selection is checked against the model."""

    def depth(lists: Sequence[BlockList]) -> Mapping[str, int]:
        selection.depth(lists)
        return {}

    return depth


def add_target(
    loaded: LoadedModel,
    tokenizer: Tokenizer | None,
    text: EncodedText,
    inputs: HeadsInput,
) -> TextAndTarget:
    """The text, and the tokens for the decoder, or the text with what a model of one stack generates after it.

    A target follows the tokens with which the decoder begins when it generates; without special tokens, only its start
    token. Raises UsageError for a target where the model has no decoder of its own, and for one that is too long.
    """
    if not loaded.is_encoder_decoder:
        return _continue_text(loaded, tokenizer, text, inputs)
    if inputs.generate is not None:
        return _generate_target(loaded, tokenizer, text, inputs.generate)
    target = _target_tokens(loaded, tokenizer, inputs)
    limit = loaded.max_target
    if limit is None or len(target) <= limit:
        return TextAndTarget(text, target)
    if not inputs.encoding.truncate:
        raise UsageError(
            f"the target has {len(target):,} tokens, and the decoder accepts at most {limit:,}",
            hint="add --truncate to shorten it",
        )
    return TextAndTarget(text, target[:limit], cut=True)


def target_notes(given: TextAndTarget) -> Iterator[str]:
    """Notes on the decoder input and on generated text."""
    if given.target is not None and len(given.target) == 1:
        yield START_ALONE
    if given.cut and given.target is not None:
        yield f"the target was truncated to the {len(given.target):,} tokens that the decoder accepts"
    if given.generated is not None:
        count = len(given.generated.ids)
        text = "" if given.generated.text is None else f': "{given.generated.text}"'
        yield f"the model generated {count:,} token{'s' if count != 1 else ''}{text}"


def _target_tokens(loaded: LoadedModel, tokenizer: Tokenizer | None, inputs: HeadsInput) -> tuple[Token, ...]:
    if inputs.target_ids is not None:
        return from_ids(tokenizer, one_id_list(inputs.target_ids)).tokens
    prefix = (
        loaded.decoder_prefix
        if inputs.target is not None and not inputs.encoding.no_special
        else loaded.decoder_prefix[:1]
    )
    start = tuple(token._replace(special=True) for token in describe_ids(tokenizer, prefix))
    if inputs.target is None:
        return start
    if tokenizer is None:
        raise UsageError(
            "--target needs a tokenizer, and the model has none", hint="give the decoder's input as --target-ids"
        )
    tokens = encode(tokenizer, inputs.target, special=False).tokens
    return (*start, *(token._replace(index=token.index + len(start)) for token in tokens))


def describe_ids(tokenizer: Tokenizer | None, ids: Sequence[int], first: int = 0) -> Iterator[Token]:
    """Tokens for ids that the model gave, with indices from `first`; its tokenizer may not know all of them."""
    pieces = [None] * len(ids) if tokenizer is None else tokenizer.describe(ids)
    for index, (number, piece) in enumerate(zip(ids, pieces, strict=True), first):
        if piece is None:
            yield Token(index, number, f"<{number}>", f"<{number}>")
        else:
            yield Token(index, number, piece.token, piece.text, special=piece.special)


def _generate_target(loaded: LoadedModel, tokenizer: Tokenizer | None, text: EncodedText, count: int) -> TextAndTarget:
    """The decoder's start token and what the decoder generates after it."""
    from attncli.api.generated import describe_generated
    from attncli.attention.inputs import build_inputs
    from attncli.models.loading.greedy_decoding import greedy_decode

    check_room(loaded.max_target, 1, count)
    ids, logits = greedy_decode(loaded, build_inputs(loaded, [text.tokens], [text.segments]).arguments, count)
    start = [token._replace(special=True) for token in describe_ids(tokenizer, ids[:1])]
    generated = tuple(describe_ids(tokenizer, ids[1:], first=1))
    return TextAndTarget(text, (*start, *number_words(generated)), describe_generated(tokenizer, ids[1:], logits))


def _continue_text(
    loaded: LoadedModel, tokenizer: Tokenizer | None, text: EncodedText, inputs: HeadsInput
) -> TextAndTarget:
    """The text and what a model of one stack generates after it."""
    if not inputs.target_flags:
        return TextAndTarget(text)
    if inputs.generate is None or not loaded.generates:
        generates = inputs.generate is not None
        does = "doesn't generate text" if generates else "is not an encoder–decoder, so it has no decoder input"
        raise UsageError(
            f"{loaded.class_name} {does}",
            hint=f"leave {inputs.target_flags[0]} out, or use an encoder–decoder such as google-t5/t5-small (-m)",
        )
    from attncli.attention.inputs import build_inputs

    arguments = build_inputs(loaded, [text.tokens], [text.segments]).arguments
    return continue_text(loaded, tokenizer, text, arguments, inputs.generate)


def continue_text(
    loaded: LoadedModel,
    tokenizer: Tokenizer | None,
    text: EncodedText,
    arguments: Mapping[str, Tensor | bool],
    count: int,
) -> TextAndTarget:
    """The text and up to `count` tokens that the model writes after it. arguments: of a forward pass on the text.

    Raises UsageError if the model takes no more tokens.
    """
    from attncli.api.generated import describe_generated
    from attncli.models.loading.greedy_decoding import greedy_decode

    length = len(text.tokens)
    check_room(loaded.max_positions, length, count)
    decoded = greedy_decode(loaded, arguments, count)
    ids = decoded.ids[length:]
    generated = tuple(describe_ids(tokenizer, ids, first=length))
    tokens = (*text.tokens, *number_words(generated, text.tokens))
    # Of two texts, it continues the last one.
    segments, sequences = text.segments[-1:] * len(ids), text.sequences[-1:] * len(ids)
    whole = EncodedText(tokens, (*text.segments, *segments), (*text.sequences, *sequences))
    return TextAndTarget(whole, generated=describe_generated(tokenizer, ids, decoded.logits))


def check_room(limit: int | None, before: int, count: int) -> None:
    if limit is not None and before + count > limit:
        raise UsageError(
            f"--generate {count:,} is too much: the model accepts at most {limit:,} tokens, and {before:,} are used",
            hint=f"use --generate {limit - before:,} or less" if limit > before else "give a shorter text",
        )


def number_words(tokens: Sequence[Token], before: Sequence[Token] = ()) -> tuple[Token, ...]:
    """Number the words of tokens that have no place in a text: a space begins a new word.

    before: the tokens of the text that they continue, whose last word may go on.
    """
    numbered = []
    word = max((token.word for token in before if token.word is not None), default=-1)
    inside = bool(before) and before[-1].word is not None and not before[-1].text[-1:].isspace()
    for token in tokens:
        if token.special or not token.text.strip():
            inside = False
            numbered.append(token)
            continue
        word += not inside or token.text[:1].isspace()
        inside = not token.text[-1:].isspace()
        numbered.append(token._replace(word=word))
    return tuple(numbered)


# --- The result of any run


def heads_result(
    loaded: LoadedModel,
    stacks: tuple[Stack, ...],
    request: HeadsRequest,
    *,
    warnings: tuple[str, ...],
    notes: tuple[str, ...],
) -> HeadsResult:
    """The result of any run of `heads`. warnings: added to those of loading the model."""
    return HeadsResult(
        model=loaded.name,
        device=str(loaded.device),
        dtype=loaded.dtype,
        stacks=stacks,
        made_by=provenance(
            "tokenizers", "transformers", "torch", model_class=loaded.class_name, revision=loaded.revision
        ),
        warnings=(*loaded.warnings, *warnings),
        notes=(*notes, *_virtual_token_note(loaded), *_ignored_option_notes(stacks, request)),
        chosen=request.shows_patterns,
    )


def _virtual_token_note(loaded: LoadedModel) -> Iterator[str]:
    if count := loaded.virtual_tokens:
        names = "[P0] is a virtual token" if count == 1 else f"[P0] to [P{count - 1}] are virtual tokens"
        yield f"{names} of the adapter, before the text; --query and --key count from the text's first token"


def _ignored_option_notes(stacks: tuple[Stack, ...], request: HeadsRequest) -> Iterator[str]:
    """Notes on options that change patterns, where no pattern is shown."""
    if request.view.by != "token" and not request.patterns and not any(stack.sketches for stack in stacks):
        flag = f"--by {request.view.by}"
        yield f"{flag} has no effect here, because no pattern is shown: choose one with -l, -H or --query"


def unread_warnings(unread: Iterable[tuple[str, str]], selection: Selection) -> Iterator[str]:
    """Warnings for stacks whose attention can't be read from the attention interface or the modules."""
    if selection.stack is None:
        for stack, mixer in unread:
            yield f"the attention of the {stack} can't be read and is not shown: {mixer}"


def metric_notes(stacks: tuple[Stack, ...], without_repeats: str) -> Iterator[str]:
    """Notes on metrics that are null. without_repeats: how the note on texts without repeated tokens begins."""
    if all(value is None for stack in stacks for head in stack.metrics for value in head.values.values()):
        yield _NO_METRICS
        return
    positional = [stack for stack in stacks if stack.stack != "cross"]
    repeated = any(head.values[PROBED] is not None for stack in positional for head in stack.metrics)
    if positional and not repeated:
        yield f"{without_repeats}, so {' and '.join(REPEAT_METRICS)} have no value (use --probe to measure them)"
