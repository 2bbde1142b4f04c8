"""Run `heads` on one text or one list of ids, and build the result of any run with its warnings and notes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from attncli.api.loading import ModelLoader, id_lists, one_id_list, provenance
from attncli.api.requests import EncodingRequest
from attncli.api.targets import TargetChoice, TextAndTarget, add_target, full_depth, target_notes
from attncli.attention.selection import EVERYTHING
from attncli.errors import UsageError
from attncli.results.heads import HeadsResult, Stack
from attncli.tokens.encode import EncodedText, encode, from_ids, was_cut

if TYPE_CHECKING:
    from attncli.attention.selection import HeadsRequest, Selection
    from attncli.models.loading.loaded_model import LoadedModel
    from attncli.models.tokenizers.types import Tokenizer
    from attncli.results.steps import Steps

#: Up to so many tokens, special ones included, nearly every head gives most of its weight to a neighbour or the first.
_FEW_TOKENS = 3

#: The note where one position of a long text is shown without metrics.
_NO_METRICS = "the metrics of heads are left out for one position of a text this long (--metric NAME has one measured)"


class HeadsInput(NamedTuple):
    """What `heads` runs a model on: one text or many, ids, random tokens, a picture or a sound; and a decoder's input.

    The fields are those of `attncli.heads`; encoding: how texts are tokenized.
    """

    text: Any = None
    input_ids: Any = None
    probe: bool = False
    seed: int = 0
    target: str | None = None
    target_ids: Sequence[int] | None = None
    generate: int | None = None
    image: Any = None
    audio: Any = None
    processor: Any = None
    encoding: EncodingRequest = EncodingRequest()

    @property
    def has_media(self) -> bool:
        """Whether there is a picture or a sound, so that a text is optional."""
        return self.image is not None or self.audio is not None

    @property
    def is_batch(self) -> bool:
        """Whether there may be more than one input, which are averaged: the result then has metrics and no patterns."""
        several_lists = self.input_ids is not None and len(id_lists(self.input_ids)) > 1
        return self.probe or several_lists or not isinstance(self.text, str | None)

    def encode(self, tokenizer: Tokenizer | None) -> EncodedText:
        """Tokenize the text, or look the ids up. tokenizer: None where the model of given ids has none.

        Raises UsageError for anything but one text or one list of ids, and for more tokens than the tokenizer's limit.
        """
        text, (pair, no_special, truncate) = self.text, self.encoding
        if (text is None) == (self.input_ids is None):
            raise UsageError("one text or one list of ids is needed", hint="give a text, or ids with --input-ids")
        if self.input_ids is not None:
            if pair is not None:
                raise UsageError("ids can't have a pair", hint="--pair goes with a text; leave it or --input-ids out")
            return from_ids(tokenizer, one_id_list(self.input_ids))
        assert tokenizer is not None
        if not isinstance(text, str) or not isinstance(pair, str | None):
            raise UsageError("a text is a string", hint="give one string, and pair= another")
        if not text.strip() or (pair is not None and not pair.strip()):
            what = "empty" if not text or pair == "" else "white space alone"
            raise UsageError(f"the text is {what}", hint="give some text, or ids with --input-ids")
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


def run_single_text(
    inputs: HeadsInput, loader: ModelLoader, request: HeadsRequest, target: TargetChoice
) -> HeadsResult:
    """Run the model on one text, and its decoder on the target."""
    files = loader.files()
    tokenizer = loader.find_tokenizer(files, needed=inputs.input_ids is None or target.text is not None)
    encoded = inputs.encode(tokenizer)
    # Report a missing position before the model is loaded. With a target, or an adapter, which may add virtual tokens,
    # positions are only known later.
    view = request.steps or request.view
    later = target.is_given or files is None or files.base is not None
    for position in () if later else (view.query, view.key):
        view.unit_spans(encoded.tokens, position)
    generates = target.generate is not None
    depth = full_depth(request.selection) if generates else request.selection.depth
    loaded = loader.load(files, depth, writes=generates)
    fitting = inputs.fit_to_model(encoded, loaded)
    pair = add_target(loaded, tokenizer, fitting, target, inputs.encoding)
    cut = f"the text was cut to the {len(fitting.tokens):,} tokens that the model takes"
    warnings = (cut,) if inputs.was_cut(encoded, fitting) else ()
    return _run(loaded, pair, request, warnings=warnings)


def _run(loaded: LoadedModel, given: TextAndTarget, request: HeadsRequest, *, warnings: tuple[str, ...]) -> HeadsResult:
    from attncli.attention.inputs import build_inputs
    from attncli.attention.stacks import build_stacks, collect, name_stacks, unread_stacks
    from attncli.attention.steps import same_head_in_other_stacks, walk_heads

    inputs = build_inputs(
        loaded,
        [given.text.tokens],
        [given.text.segments],
        sequences=[given.text.sequences],
        target=given.target,
    )
    collector = collect(loaded, inputs, replace(request, sketches=not request.patterns))
    stacks_by_name = name_stacks(collector)
    (stacks,) = build_stacks(collector, stacks_by_name)
    warnings = (*warnings, *unread_warnings(unread_stacks(collector), request.selection))
    notes = (*target_notes(given), *_few_tokens_note(given, request), *metric_notes(stacks, "the text repeats nothing"))
    result = heads_result(loaded, stacks, request, warnings=warnings, notes=notes)
    result = replace(result, generated=given.generated)
    if request.steps is None:
        return result
    steps = walk_heads(stacks_by_name, request.steps)
    others = same_head_in_other_stacks(stacks_by_name, request.steps, steps)
    return replace(result, steps=steps, notes=(*result.notes, *_steps_note(steps[0], others)))


def _few_tokens_note(given: TextAndTarget, request: HeadsRequest) -> Iterator[str]:
    """A note where heads are labelled by what they do, and the text is so short that nearly all do the same."""
    count = len(given.text.tokens)
    if count <= _FEW_TOKENS and request.view == EVERYTHING and not request.selection.chosen and request.steps is None:
        several = f"{count} token{'s are' if count > 1 else ' is'}"
        yield f"{several} too few to tell heads apart by; a sentence shows more, and --probe most"


def _too_long(tokens: int, limit: int) -> UsageError:
    return UsageError(f"the text has {tokens:,} tokens and the model takes {limit:,}", hint="--truncate cuts it to fit")


def _steps_note(steps: Steps, others: Sequence[str]) -> Iterator[str]:
    """A note on other stacks that `--steps` can show. others: a head of each."""
    if others:
        heads = " or ".join(f"-H {name}" for name in others)
        yield f"the walk is through the {steps.stack}; {heads} walks through another stack"


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
    if request.patterns:
        return
    sketched = any(stack.sketches for stack in stacks)
    shaping = {
        "--norm-weighted": request.weighting == "norm",
        "--hide-special": request.view.hide_special and not sketched,
        f"--by {request.view.by}": request.view.by != "token" and not sketched,
    }
    for flag in (flag for flag, given in shaping.items() if given):
        yield f"{flag} shapes patterns, and none is shown here: choose some with -l, -H or --query"


def unread_warnings(unread: Iterable[tuple[str, str]], selection: Selection) -> Iterator[str]:
    """Warnings for stacks whose attention can't be read from the attention interface or the modules."""
    if selection.stack is None:
        for stack, mixer in unread:
            yield f"the attention of the {stack} can't be read and is left out: {mixer}"


def metric_notes(stacks: tuple[Stack, ...], without_repeats: str) -> Iterator[str]:
    """Notes on metrics that are null. without_repeats: how the note on texts without repeated tokens begins."""
    if all(value is None for stack in stacks for head in stack.metrics for value in head.values.values()):
        yield _NO_METRICS
        return
    positional = [stack for stack in stacks if stack.stack != "cross"]
    repeated = any(head.values["induction"] is not None for stack in positional for head in stack.metrics)
    if positional and not repeated:
        yield f"{without_repeats}, so that duplicate and induction are null (--probe shows them)"
