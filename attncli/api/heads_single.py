"""Run `heads` on one input: a text, a list of ids, or a picture or a sound with or without a text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attncli.api.cutting import id_lists
from attncli.api.heads_result import heads_result, metric_notes, steps_notes, unread_warnings
from attncli.api.loading import ModelLoader
from attncli.api.modalities import read_media
from attncli.api.picture_prompts import PromptBuilder, open_processor
from attncli.api.targets import TargetChoice, TextAndTarget, add_target, full_depth, target_notes
from attncli.attention.selection import EVERYTHING
from attncli.errors import UsageError
from attncli.models.media.pictures import Photo
from attncli.tokens.encode import EncodedText, encode, from_ids, was_cut

if TYPE_CHECKING:
    from attncli.attention.selection import HeadsRequest
    from attncli.models.loading.loaded_model import LoadedModel
    from attncli.models.tokenizers.types import Tokenizer
    from attncli.results.heads import HeadsResult

#: Up to so many tokens, special ones included, nearly every head gives most of its weight to a neighbour or the first.
_FEW_TOKENS = 3


@dataclass(frozen=True)
class OneText:
    """A text, perhaps with a second segment, or a list of ids: as the user gave it, and how to tokenize it."""

    text: Any
    pair: str | None
    ids: Any
    special: bool
    truncate: bool

    def encode(self, tokenizer: Tokenizer | None) -> EncodedText:
        """Tokenize the text, or look the ids up. tokenizer: None where the model of given ids has none.

        Raises UsageError for anything but one text or one list of ids, and for more tokens than the tokenizer's limit.
        """
        if (self.text is None) == (self.ids is None):
            raise UsageError("one text or one list of ids is needed", hint="give a text, or ids with --input-ids")
        if self.ids is not None:
            return self._from_ids(tokenizer)
        assert tokenizer is not None
        self._check_text()
        encoded = encode(tokenizer, self.text, pair=self.pair, special=self.special, truncate=self.truncate)
        limit = tokenizer.max_length
        if limit is not None and len(encoded.tokens) > limit:
            raise _too_long(len(encoded.tokens), limit)
        return encoded

    def fit_to_model(self, encoded: EncodedText, loaded: LoadedModel) -> EncodedText:
        """The tokens cut to the model's limit; the tokenizer has applied its own limit already."""
        limit = loaded.max_positions
        if limit is None or len(encoded.tokens) <= limit:
            return encoded
        if not self.truncate:
            raise _too_long(len(encoded.tokens), limit)
        return EncodedText(encoded.tokens[:limit], encoded.segments[:limit], encoded.sequences[:limit])

    def was_cut(self, encoded: EncodedText, fitting: EncodedText) -> bool:
        """Whether the tokenizer's or the model's limit cut some of the text off."""
        texts = [text for text in (self.text, self.pair) if isinstance(text, str)]
        return self.truncate and (fitting is not encoded or was_cut(encoded, texts))

    def _from_ids(self, tokenizer: Tokenizer | None) -> EncodedText:
        if self.pair is not None:
            raise UsageError("ids can't have a pair", hint="--pair goes with a text; leave it or --input-ids out")
        lists = id_lists(self.ids)
        if len(lists) > 1:
            raise UsageError(f"{len(lists)} lists of ids were given where one is taken", hint="give one list")
        return from_ids(tokenizer, lists[0])

    def _check_text(self) -> None:
        if not isinstance(self.text, str) or not isinstance(self.pair, str | None):
            raise UsageError("a text is a string", hint="give one string, and pair= another")
        if not self.text.strip() or (self.pair is not None and not self.pair.strip()):
            what = "empty" if not self.text or self.pair == "" else "white space alone"
            raise UsageError(f"the text is {what}", hint="give some text, or ids with --input-ids")


def run_single_text(one: OneText, loader: ModelLoader, request: HeadsRequest, target: TargetChoice) -> HeadsResult:
    """Run the model on one text, and its decoder on the target."""
    files = loader.files()
    tokenizer = loader.find_tokenizer(files, needed=one.ids is None or target.text is not None)
    encoded = one.encode(tokenizer)
    # Report a missing position before the model is loaded. With a target, or an adapter, which may add virtual tokens,
    # positions are only known later.
    view = request.steps or request.view
    later = target.is_given or files is None or files.base is not None
    for position in () if later else (view.query, view.key):
        view.unit_spans(encoded.tokens, position)
    generates = target.generate is not None
    depth = full_depth(request.selection) if generates else request.selection.depth
    loaded = loader.load(files, depth, writes=generates)
    fitting = one.fit_to_model(encoded, loaded)
    pair = add_target(loaded, tokenizer, fitting, target, special=one.special, truncate=one.truncate)
    cut = f"the text was cut to the {len(fitting.tokens):,} tokens that the model takes"
    warnings = (cut,) if one.was_cut(encoded, fitting) else ()
    return _run(loaded, pair, request, warnings=warnings)


def _run(loaded: LoadedModel, given: TextAndTarget, request: HeadsRequest, *, warnings: tuple[str, ...]) -> HeadsResult:
    from attncli.attention.inputs import build_inputs
    from attncli.attention.stacks import collect
    from attncli.attention.steps import same_head_in_other_stacks, walk_heads

    inputs = build_inputs(
        loaded,
        [given.text.tokens],
        [given.text.segments],
        sequences=[given.text.sequences],
        target=given.target,
    )
    collected = collect(loaded, inputs, replace(request, sketches=not request.patterns))
    stacks = tuple(stack.build() for stack in collected)
    warnings = (*warnings, *unread_warnings(collected[0].collector.unread_stacks(), request.selection))
    notes = (*target_notes(given), *_few_tokens_note(given, request), *metric_notes(stacks, "the text repeats nothing"))
    result = heads_result(loaded, stacks, request, warnings=warnings, notes=notes)
    result = replace(result, generated=given.generated)
    if request.steps is None:
        return result
    steps = walk_heads(collected, request.steps)
    others = same_head_in_other_stacks(collected, request.steps, steps)
    return replace(result, steps=steps, notes=(*result.notes, *steps_notes(steps, others)))


def _few_tokens_note(given: TextAndTarget, request: HeadsRequest) -> Iterator[str]:
    """A note where heads are labelled by what they do, and the text is so short that nearly all do the same."""
    count = len(given.text.tokens)
    if count <= _FEW_TOKENS and request.view == EVERYTHING and not request.selection.chosen and request.steps is None:
        several = f"{count} token{'s are' if count > 1 else ' is'}"
        yield f"{several} too few to tell heads apart by; a sentence shows more, and --probe most"


def _too_long(tokens: int, limit: int) -> UsageError:
    return UsageError(f"the text has {tokens:,} tokens and the model takes {limit:,}", hint="--truncate cuts it to fit")


def run_media(
    image: str | Path | None,
    audio: str | Path | None,
    one: OneText,
    loader: ModelLoader,
    request: HeadsRequest,
    *,
    processor: Any,
    generate: int | None,
    incompatible: Mapping[str, bool],
) -> HeadsResult:
    """Run the model on a picture or a sound, and on the text if there is one.

    processor: goes with a loaded module.  generate: how many tokens the model may write after the text.
    incompatible: options that can't be combined with one, and whether each was given.
    """
    media = read_media(image, audio, incompatible=incompatible)
    files = loader.files()
    encoded = None
    if one.text is not None or one.ids is not None:
        encoded = one.encode(loader.find_tokenizer(files, needed=one.ids is None))
    writes = generate is not None
    depth = full_depth(request.selection) if writes else request.selection.depth
    loaded = loader.load(files, depth, writes=writes, modality=media.modality)
    if isinstance(media.content, Photo) and loaded.picture_token is not None:
        ids = None if one.ids is None else list(id_lists(one.ids)[0])
        processor = open_processor(files, processor)
        prompt = PromptBuilder(media.content, loaded, processor, one.text, ids, one.special, one.truncate)
        found = prompt.run(request, generate)
    else:
        media.refuse_writing(loaded, generate)
        found = media.run(loaded, files, processor, encoded, request, truncate=one.truncate)
    result = heads_result(loaded, found.stacks, request, warnings=(), notes=found.notes)
    return replace(result, picture=found.picture, generated=found.generated)
