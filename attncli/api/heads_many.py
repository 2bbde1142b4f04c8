"""Run `heads` on several inputs and average: many texts or lists of ids, or the probe of repeated random tokens.

Texts are grouped by length, tokenized, and split into batches for the model. The groups depend only on the texts. So
several processes that share the texts form the same groups without communicating, and a group gives the same numbers in
each of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice
from typing import TYPE_CHECKING, NamedTuple

from attncli.api.chat_input import is_conversation
from attncli.api.decoder_input import START_ALONE
from attncli.api.heads_input import HeadsInput
from attncli.api.heads_single import heads_result, metric_notes, unread_warnings
from attncli.api.loading import ModelLoader, id_lists, model_limits
from attncli.api.requests import EncodingRequest
from attncli.errors import AttnError, UsageError
from attncli.progress import Progress, Texts
from attncli.quantities import check_number
from attncli.results.tokens import Token
from attncli.tokens.encode import check_text, from_ids

if TYPE_CHECKING:
    from attncli.attention.averages import Averages, BatchCheck
    from attncli.attention.inputs import ModelInputs
    from attncli.attention.selection import HeadsRequest
    from attncli.models.loading.distributed import Communicator
    from attncli.models.loading.loaded_model import LoadedModel
    from attncli.models.tokenizers.types import Tokenizer
    from attncli.results.heads import HeadsResult, Probe

#: The most texts that are sorted by length at a time, and the most characters in them.
_WINDOW_TEXTS, _WINDOW_CHARACTERS = 2048, 1 << 22

#: The most texts of a group, and the most characters, padding counted.
_GROUP_TEXTS, _GROUP_CHARACTERS = 32, 1 << 14

#: Characters in a token, roughly.
_CHARACTERS_PER_TOKEN = 4

#: The most tokens in a batch, padding counted, unless a single text has more.
BATCH_TOKENS = 4096


class LocatedText(NamedTuple):
    """One of many texts, or its ids; `place` is how messages refer to it: `line 7 of notes.txt`."""

    place: str
    text: str | None = None
    ids: Sequence[int] | None = None

    @property
    def size(self) -> int:
        """Characters, or about as many as the ids would have."""
        return len(self.text or "") if self.ids is None else _CHARACTERS_PER_TOKEN * len(self.ids)


class TextTokens(NamedTuple):
    """The tokens of one of many texts and their segment ids (`token_type_ids`); the tokens have no offsets."""

    tokens: tuple[Token, ...]
    segments: tuple[int, ...]


def many_texts(inputs: HeadsInput) -> Iterator[LocatedText] | None:
    """The texts or lists of ids, if there is more than one; None for a single one, and for the probe.

    Raises UsageError for a text together with the probe, texts together with ids, no texts at all, and an invalid text
    or seed.
    """
    text, ids = inputs.text, inputs.input_ids
    check_number("--seed", inputs.seed, least=0, instance=1)
    if (flag := inputs.without_text) is not None:
        if text is not None or ids is not None:
            why = "it needs no text" if inputs.qk_ov else "it runs random tokens instead"
            raise UsageError(f"{flag} can't be combined with a text: {why}", hint=f"leave {flag} or the text out")
        return None
    conversation = inputs.chat and is_conversation(text)
    if text is not None and not conversation and not isinstance(text, str | bytes) and isinstance(text, Iterable):
        if ids is not None:
            raise UsageError("texts and --input-ids can't be combined", hint="give texts or token ids, not both")
        texts = _located_texts(text)
        # Report a missing or empty file before anything slow begins.
        first = next(texts, None)
        if first is None:
            raise UsageError("there are no texts", hint="give at least one text, or a file that isn't empty")
        return chain([first], texts)
    lists = id_lists(ids) if ids is not None and text is None else ()
    return (LocatedText(f"text {number}", ids=ids) for number, ids in enumerate(lists, 1)) if len(lists) > 1 else None


def _located_texts(texts: Iterable[object]) -> Iterator[LocatedText]:
    for number, text in enumerate(texts, 1):
        if isinstance(text, LocatedText):
            yield text
        elif isinstance(text, str):
            yield LocatedText(f"text {number}", text)
        else:
            raise UsageError(
                f"text {number} is a {type(text).__name__}", hint="give strings, or token ids as input_ids="
            )


def run_averaged(
    inputs: HeadsInput,
    texts: Iterator[LocatedText] | None,
    loader: ModelLoader,
    request: HeadsRequest,
    sharing: Communicator,
) -> HeadsResult:
    """Run the model on all texts, or on the probe where there are none, and average the metrics of its heads."""
    if not loader.is_loaded:
        running = loader.running
        loader = loader._replace(running=running._replace(device=sharing.pick_device(running.device)))
    first = None if texts is None else next(texts)
    files = loader.files()
    model_limits(files).check_selection(request.selection)
    tokenizer = loader.find_tokenizer(files, needed=first is not None and first.ids is None)
    loaded = loader.load(files, request.selection.depth)
    metrics_alone = replace(request, patterns=False)
    warnings, notes, probe = [], [], None
    if texts is None or first is None:
        averages, probe = average_probe(loaded, tokenizer, inputs, metrics_alone, sharing, loader.progress)
        stacks = averages.stacks()
        if loaded.is_encoder_decoder:
            notes = ["the decoder's input was its start token, then the same random tokens as the encoder's"]
    else:
        batches = BatchTokenizer(tokenizer, inputs.encoding, loaded.max_positions)
        given = chain([first], texts)
        averages, cut, empty = average_texts(loaded, given, batches, metrics_alone, sharing, loader.progress)
        stacks = averages.stacks()
        if cut:
            warnings = [f"{_texts_were(cut)} truncated to the {batches.limit:,} tokens that the model accepts"]
        if empty:
            notes = [f"{_texts_were(empty)} skipped, because {'they are' if empty > 1 else 'it is'} empty"]
        notes += [START_ALONE] * loaded.is_encoder_decoder
        notes += metric_notes(stacks, "no token occurs twice in a text")
    warnings += unread_warnings(averages.unread, request.selection)
    result = heads_result(loaded, stacks, request, warnings=tuple(warnings), notes=tuple(notes))
    return replace(result, texts=averages.texts, probe=probe)


def average_texts(
    loaded: LoadedModel,
    texts: Iterable[LocatedText],
    batch_tokenizer: BatchTokenizer,
    request: HeadsRequest,
    sharing: Communicator,
    progress: Progress,
) -> tuple[Averages, int, int]:
    """Run the model on every text, in batches, and average the metrics of its heads; each text weighs the same.

    Also returns how many texts were truncated, and how many were left out as they are empty.
    Each process takes every n-th group of texts, and all get the averages of all.
    Raises UsageError for a text that is too long and may not be cut, and where no text has a token.
    """
    from attncli.attention.averages import Averages, BatchCheck

    averages, check = Averages(request), BatchCheck(loaded)
    for number, group in enumerate(group_by_length(texts)):
        sharing.check()
        if number % sharing.world == sharing.rank:
            texts_of_group = [text for text in map(batch_tokenizer.tokenize, group) if text is not None]
            for batch in _model_batches(check, texts_of_group):
                averages.add(loaded, _batch_inputs(loaded, batch))
                progress("running texts", Texts(averages.texts * sharing.world), None)
    parts = sharing.gather((averages, batch_tokenizer.shortened, batch_tokenizer.empty))
    total = Averages.combine(request, [part for part, _, _ in parts])
    if not total.texts:
        raise UsageError("all texts are empty", hint="give a text, or token ids with --input-ids")
    return total, sum(cut for _, cut, _ in parts), sum(empty for _, _, empty in parts)


def _model_batches(check: BatchCheck, texts: Sequence[TextTokens]) -> Iterator[list[TextTokens]]:
    """The texts in batches that fit into memory and change no number."""
    return (part for batch in split_batches(texts) for part in check.split(batch))


def _batch_inputs(loaded: LoadedModel, batch: Sequence[TextTokens]) -> ModelInputs:
    from attncli.attention.inputs import build_inputs

    return build_inputs(loaded, [text.tokens for text in batch], [text.segments for text in batch])


def _texts_were(count: int) -> str:
    return f"{count:,} texts were" if count > 1 else "1 text was"


def average_probe(
    loaded: LoadedModel,
    tokenizer: Tokenizer | None,
    inputs: HeadsInput,
    request: HeadsRequest,
    sharing: Communicator,
    progress: Progress,
) -> tuple[Averages, Probe]:
    """Run the model on several sequences of repeated random tokens and average the metrics of its heads.

    tokenizer: tells which tokens are ordinary; without one any id is used. Each sequence begins as the model's texts
    do. An encoder–decoder's decoder gets the same tokens, after its start token.
    Raises UsageError where the model takes too few tokens.
    """
    from attncli.attention.averages import Averages, BatchCheck
    from attncli.attention.inputs import PROBE_TOKENS, choose_probe, probe_ids, with_decoder_texts
    from attncli.tokens.vocabulary import first_special, ordinary_ids

    first = None if tokenizer is None or inputs.encoding.no_special else first_special(tokenizer)
    size = loaded.vocabulary_size
    if tokenizer is None:
        ordinary: Sequence[int] = range(size or 0)
    else:
        ordinary = [token_id for token_id in ordinary_ids(tokenizer, PROBE_TOKENS) if size is None or token_id < size]
    before = int(first is not None) + loaded.is_encoder_decoder
    probe = choose_probe(loaded.max_positions, len(ordinary), before=before, seed=inputs.seed)
    averages = Averages(request)
    # There are few sequences: the first process runs all of them.
    ids = probe_ids(probe, ordinary, first) if sharing.rank == 0 else []
    for batch in _model_batches(BatchCheck(loaded), [_probe_text(sequence, tokenizer, first) for sequence in ids]):
        given = _batch_inputs(loaded, batch)
        if loaded.is_encoder_decoder:
            given = with_decoder_texts(loaded, given, [text.tokens for text in batch])
        averages.add(loaded, given)
        progress("probing", averages.texts, probe.sequences)
    return Averages.combine(request, sharing.gather(averages)), probe


def _probe_text(ids: Sequence[int], tokenizer: Tokenizer | None, first: int | None) -> TextTokens:
    tokens = from_ids(tokenizer, ids).tokens
    if first is not None:
        # Some tokenizers begin texts with a token that they don't list as special.
        tokens = (tokens[0]._replace(special=True), *tokens[1:])
    return TextTokens(tokens, (0,) * len(tokens))


# --- Batches


def group_by_length(texts: Iterable[LocatedText]) -> Iterator[list[LocatedText]]:
    """The texts in groups of similar length, so that there is little padding.

    They are sorted within a window, the longest first, so that running out of memory shows early.
    """
    window: list[LocatedText] = []
    held = 0
    for given in texts:
        window.append(given)
        held += given.size
        if len(window) >= _WINDOW_TEXTS or held >= _WINDOW_CHARACTERS:
            yield from _groups(window)
            window, held = [], 0
    yield from _groups(window)


def _groups(window: list[LocatedText]) -> Iterator[list[LocatedText]]:
    window.sort(key=lambda given: -given.size)
    while window:
        count = min(max(1, _GROUP_CHARACTERS // max(1, window[0].size)), _GROUP_TEXTS)
        yield window[:count]
        del window[:count]


def split_batches(texts: Sequence[TextTokens]) -> Iterator[list[TextTokens]]:
    """A group's texts, the longest first, in batches of at most `BATCH_TOKENS` tokens, or of one text.

    Needed because groups count characters, which only estimate tokens.
    """
    rest = iter(sorted(texts, key=lambda text: -len(text.tokens)))
    for longest in rest:
        yield [longest, *islice(rest, max(1, BATCH_TOKENS // len(longest.tokens)) - 1)]


class BatchTokenizer:
    """Tokenizes texts for batches, and counts the texts that were truncated (`shortened`) or left out (`empty`).

    tokenizer: None where all texts are ids.  limit: how many tokens the model takes.
    """

    def __init__(self, tokenizer: Tokenizer | None, encoding: EncodingRequest, limit: int | None) -> None:
        self._tokenizer = tokenizer
        self._encoding = encoding
        own = None if tokenizer is None else tokenizer.max_length
        self.limit = min((each for each in (own, limit) if each is not None), default=None)
        self.empty = self.shortened = 0
        self._special_ids: dict[int, bool] = {}

    def tokenize(self, given: LocatedText) -> TextTokens | None:
        """The tokens of a text; None where it has none, or only white space.

        Raises UsageError, with the place, for one that is too long and may not be cut, and for a lone surrogate.
        """
        try:
            encoded = None if given.ids is None and not (given.text or "").strip() else self._encode_to_fit(given)
        except AttnError as error:
            error.message = f"{given.place}: {error.message}"
            raise
        if encoded is None or not encoded.tokens:
            self.empty += 1
            return None
        return encoded

    def _encode_to_fit(self, given: LocatedText) -> TextTokens:
        encoded = self._encode(given)
        if self.limit is None or len(encoded.tokens) <= self.limit:
            return encoded
        if not self._encoding.truncate:
            raise UsageError(
                f"the text has {len(encoded.tokens):,} tokens, and the model accepts at most {self.limit:,}",
                hint="add --truncate to shorten it",
            )
        self.shortened += 1
        encoded = self._encode(given, truncate=True)
        return TextTokens(encoded.tokens[: self.limit], encoded.segments[: self.limit])

    def _encode(self, given: LocatedText, *, truncate: bool = False) -> TextTokens:
        if given.ids is not None:
            encoded = from_ids(self._tokenizer, given.ids)
            return TextTokens(encoded.tokens, encoded.segments)
        assert self._tokenizer is not None and given.text is not None
        check_text(given.text)
        encoding = self._tokenizer.encode(given.text, special=not self._encoding.no_special, truncate=truncate)
        marks = zip(encoding.ids, encoding.sequences, strict=True)
        tokens = (
            Token(index, identifier, "", "", special=sequence is None or self._is_special(identifier))
            for index, (identifier, sequence) in enumerate(marks)
        )
        return TextTokens(tuple(tokens), tuple(encoding.segments))

    def _is_special(self, identifier: int) -> bool:
        """Whether the vocabulary calls an id special, looked up once for each."""
        if identifier not in self._special_ids:
            assert self._tokenizer is not None
            (piece,) = self._tokenizer.describe([identifier])
            self._special_ids[identifier] = piece is not None and piece.special
        return self._special_ids[identifier]
