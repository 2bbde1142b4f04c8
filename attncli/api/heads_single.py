"""One text, or one list of ids, for `heads`: cut into tokens, and looked at.

A picture or a sound, alone or with a text, for `heads`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attncli.api.cutting import id_lists
from attncli.api.heads_result import heads_result, metric_notes, steps_notes, unread_warnings
from attncli.api.loading import ModelLoader
from attncli.api.modalities import read_media
from attncli.api.targets import TargetChoice, TextAndTarget, add_target, full_depth, target_notes
from attncli.attention.selection import EVERYTHING
from attncli.errors import UsageError
from attncli.tokens.encode import EncodedText, encode, from_ids, was_cut

if TYPE_CHECKING:
    from attncli.attention.selection import HeadsRequest
    from attncli.models.loading.loaded_model import LoadedModel
    from attncli.models.tokenizers.types import Tokenizer
    from attncli.results.heads import HeadsResult

#: Tokens, special ones included, of which nearly every head gives most of its weight to a neighbour or to the first.
_FEW_TOKENS = 3


@dataclass(frozen=True)
class OneText:
    """A text, maybe with a second segment, or a list of ids: as it was given, and how it is to be cut into tokens."""

    text: Any
    pair: str | None
    ids: Any
    special: bool
    truncate: bool

    def encode(self, tokenizer: Tokenizer | None) -> EncodedText:
        """The tokens; tokenizer: None where ids were given, and there is none.

        Raises UsageError for what is neither one text nor one list of ids, and for more tokens than the tokenizer knows
        the model to take.
        """
        if (self.text is None) == (self.ids is None):
            raise UsageError("one text or one list of ids is needed", hint="give a text, or ids with --input-ids")
        if self.ids is not None:
            return self._from_ids(tokenizer)
        assert tokenizer is not None
        self._refuse_no_text()
        encoded = encode(tokenizer, self.text, pair=self.pair, special=self.special, truncate=self.truncate)
        limit = tokenizer.max_length
        if limit is not None and len(encoded.tokens) > limit:
            raise _too_long(len(encoded.tokens), limit)
        return encoded

    def fitting(self, encoded: EncodedText, loaded: LoadedModel) -> EncodedText:
        """The tokens, as many as the model takes. The tokenizer has cut a text to what it knows of already."""
        limit = loaded.max_positions
        if limit is None or len(encoded.tokens) <= limit:
            return encoded
        if not self.truncate:
            raise _too_long(len(encoded.tokens), limit)
        return EncodedText(encoded.tokens[:limit], encoded.segments[:limit], encoded.sequences[:limit])

    def was_cut(self, encoded: EncodedText, fitting: EncodedText) -> bool:
        """Whether something of it was left out, by the tokenizer or for the model."""
        texts = [text for text in (self.text, self.pair) if isinstance(text, str)]
        return self.truncate and (fitting is not encoded or was_cut(encoded, texts))

    def _from_ids(self, tokenizer: Tokenizer | None) -> EncodedText:
        if self.pair is not None:
            raise UsageError("ids can't have a pair", hint="--pair goes with a text; leave it or --input-ids out")
        lists = id_lists(self.ids)
        if len(lists) > 1:
            raise UsageError(f"{len(lists)} lists of ids were given where one is taken", hint="give one list")
        return from_ids(tokenizer, lists[0])

    def _refuse_no_text(self) -> None:
        if not isinstance(self.text, str) or not isinstance(self.pair, str | None):
            raise UsageError("a text is a string", hint="give one string, and pair= another")
        if not self.text.strip() or (self.pair is not None and not self.pair.strip()):
            what = "empty" if not self.text or self.pair == "" else "white space alone"
            raise UsageError(f"the text is {what}", hint="give some text, or ids with --input-ids")


def run_single_text(one: OneText, opening: ModelLoader, wanted: HeadsRequest, target: TargetChoice) -> HeadsResult:
    """Run the model on one text, and on what its decoder is given."""
    files = opening.files()
    tokenizer = opening.find_tokenizer(files, needed=one.ids is None or target.text is not None)
    encoded = one.encode(tokenizer)
    # A position that is not there is met before the model is loaded; a target has positions of its own.
    view = wanted.steps or wanted.view
    for position in () if target.given else (view.query, view.key):
        view.shown(encoded.tokens, position)
    writes = target.generate is not None
    depth = full_depth(wanted.selection) if writes else wanted.selection.depth
    loaded = opening.load(files, depth, writes=writes)
    fitting = one.fitting(encoded, loaded)
    sides = add_target(loaded, tokenizer, fitting, target, special=one.special, truncate=one.truncate)
    warnings = (_cut_warning(fitting),) if one.was_cut(encoded, fitting) else ()
    return _run(loaded, sides, wanted, warnings=warnings)


def _run(loaded: LoadedModel, sides: TextAndTarget, wanted: HeadsRequest, *, warnings: tuple[str, ...]) -> HeadsResult:
    from attncli.attention.inputs import build_inputs
    from attncli.attention.stacks import collect, described, named_stacks, unread_stacks
    from attncli.attention.steps import elsewhere, walk

    inputs = build_inputs(
        loaded,
        [sides.text.tokens],
        [sides.text.segments],
        sequences=[sides.text.sequences],
        target=sides.target,
    )
    collector = collect(loaded, inputs, replace(wanted, sketches=not wanted.patterns))
    named = named_stacks(collector)
    (stacks,) = described(collector, named)
    warnings = (*warnings, *unread_warnings(unread_stacks(collector), wanted.selection))
    notes = (*target_notes(sides), *_few_tokens_note(sides, wanted), *metric_notes(stacks, "the text repeats nothing"))
    result = heads_result(loaded, stacks, wanted, warnings=warnings, notes=notes)
    result = replace(result, generated=sides.generated)
    if wanted.steps is None:
        return result
    steps = walk(named, wanted.steps)
    others = elsewhere(named, wanted.steps, steps)
    return replace(result, steps=steps, notes=(*result.notes, *steps_notes(steps, others)))


def _few_tokens_note(sides: TextAndTarget, wanted: HeadsRequest) -> Iterator[str]:
    """Said where heads are named by what they do, and the text is so short that nearly all of them do the same."""
    count = len(sides.text.tokens)
    if count <= _FEW_TOKENS and wanted.view == EVERYTHING and not wanted.selection.chosen and wanted.steps is None:
        several = f"{count} token{'s are' if count > 1 else ' is'}"
        yield f"{several} too few to tell heads apart by; a sentence shows more, and --probe most"


def _too_long(tokens: int, limit: int) -> UsageError:
    return UsageError(f"the text has {tokens:,} tokens and the model takes {limit:,}", hint="--truncate cuts it to fit")


def _cut_warning(kept: EncodedText) -> str:
    return f"the text was cut to the {len(kept.tokens):,} tokens that the model takes"


def run_media(
    image: str | Path | None,
    audio: str | Path | None,
    one: OneText,
    opening: ModelLoader,
    wanted: HeadsRequest,
    *,
    processor: Any,
    beside: Mapping[str, bool],
) -> HeadsResult:
    """Run the model on a picture or a sound, and on the text if there is one.

    processor: of a model that was handed over.  beside: what does not go with a picture, and whether it was asked for.
    """
    scene = read_media(image, audio, beside=beside)
    files = opening.files()
    encoded = None
    if one.text is not None or one.ids is not None:
        encoded = one.encode(opening.find_tokenizer(files, needed=one.ids is None))
    loaded = opening.load(files, wanted.selection.depth, sense=scene.sense)
    looked = scene.look(loaded, files, processor, encoded, wanted, truncate=one.truncate)
    result = heads_result(loaded, looked.stacks, wanted, warnings=(), notes=looked.notes)
    return replace(result, picture=looked.picture)
