"""Run `heads` on a sound: one window of the model is shown, and a model that writes what it hears writes of all.

A model such as Whisper reads a window of 30 seconds at a time. Windows of a longer sound follow one another, and each
is run by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from attncli.api.decoder_input import TextAndTarget, check_room, describe_ids, number_words, target_notes, written_from
from attncli.api.heads_input import HeadsInput
from attncli.api.heads_single import full_depth, heads_result
from attncli.api.loading import ModelLoader, model_limits, require_files
from attncli.attention.positions import seconds_of
from attncli.attention.selection import EVERYTHING
from attncli.errors import UsageError
from attncli.models.media.sounds import Recording, SoundWindow, cut_windows, feature_extractor, prepare_window
from attncli.results.generated import Generated, TimedWord
from attncli.results.sound import Sound
from attncli.results.tokens import Token
from attncli.tokens.encode import EncodedText

if TYPE_CHECKING:
    from attncli.attention.inputs import ModelInputs
    from attncli.attention.selection import HeadsRequest
    from attncli.attention.stacks import CollectedStack
    from attncli.models.loading.loaded_model import LoadedModel
    from attncli.models.tokenizers.types import Tokenizer
    from attncli.results.heads import HeadsResult


def run_sound(recording: Recording, inputs: HeadsInput, loader: ModelLoader, request: HeadsRequest) -> HeadsResult:
    """Run the model on a window of a sound, with the text if there is one; or let it write what it hears in all.

    Raises UsageError for a text that the model doesn't take, or beside several windows, and for `--generate` where the
    model writes no text; ModelError where the model has no feature extractor.
    """
    files = loader.files()
    model_limits(files).check_selection(request.selection)
    writes = inputs.generate is not None
    if writes and inputs.has_text:
        raise UsageError("--generate writes the text that is heard, and a text was given", hint="leave one of them out")
    needs_text = inputs.text is not None
    tokenizer = loader.find_tokenizer(files, needed=needs_text) if writes or inputs.has_text else None
    text = inputs.encode(tokenizer) if inputs.has_text else None
    depth = full_depth(request.selection) if writes else request.selection.depth
    loaded = loader.load(files, depth, writes=writes, modality="audio")
    processor = inputs.processor or feature_extractor(require_files(files, "audio"))
    extractor = getattr(processor, "feature_extractor", processor)
    windows, notes = cut_windows(recording, extractor, truncate=inputs.encoding.truncate)
    heard = HeardSound(loaded, tokenizer, extractor, recording, windows)
    shown = heard.window_of(request)
    if writes:
        return heard.write(inputs, request, shown, notes)
    return heard.show(text, inputs, request, shown, notes)


class _Passed(NamedTuple):
    """One window that was run: its stacks, and what was written of it."""

    inputs: ModelInputs
    collected: Sequence[CollectedStack]
    generated: Generated | None = None


@dataclass(frozen=True)
class HeardSound:
    """A sound in the windows of a model."""

    loaded: LoadedModel
    tokenizer: Tokenizer | None
    extractor: Any
    recording: Recording
    windows: tuple[SoundWindow, ...]

    def window_of(self, request: HeadsRequest) -> int:
        """The window that a query or a key in seconds is in; else the first."""
        positions = (request.view.key, request.view.query)
        moments = [found for each in positions if each is not None and (found := seconds_of(each.typed)) is not None]
        if not moments:
            return 0
        return max(place for place, window in enumerate(self.windows) if place == 0 or window.start <= moments[0])

    def show(
        self, text: EncodedText | None, inputs: HeadsInput, request: HeadsRequest, shown: int, notes: tuple[str, ...]
    ) -> HeadsResult:
        """The result of one window, with the text that the model's decoder reads."""
        if text is not None and len(self.windows) > 1:
            raise UsageError(
                f"a text is what is heard in one window, and {self.recording.name} has {len(self.windows)}",
                hint="leave the text out, or add --truncate for the first window alone",
            )
        from attncli.attention.inputs import build_media_inputs
        from attncli.attention.stacks import collect

        tokens = () if text is None else text.tokens
        given = build_media_inputs(self.loaded, *self._prepared(shown), tokens, truncate=inputs.encoding.truncate)
        stacks = tuple(stack.build() for stack in collect(self.loaded, given, request))
        notes = (*notes, *self._window_note(shown), *decoder_notes(text, given))
        return self._with_windows(heads_result(self.loaded, stacks, request, warnings=(), notes=notes), shown)

    def write(self, inputs: HeadsInput, request: HeadsRequest, shown: int, notes: tuple[str, ...]) -> HeadsResult:
        """The result of one window, with what the model writes of each.

        Raises UsageError where it writes nothing, or takes fewer tokens.
        """
        _require_writer(self.loaded)
        count = inputs.generate or 0
        check_room(self.loaded.max_target, _prefix_length(self.loaded), count)
        brief = replace(request, patterns=False, sketches=False, metrics=(), view=EVERYTHING)
        passed = [
            self._write_window(place, count, request if place == shown else brief) for place in range(len(self.windows))
        ]
        whole = _joined([each.generated for each in passed if each.generated is not None])
        stacks = tuple(stack.build() for stack in passed[shown].collected)
        notes = (*notes, *self._window_note(shown), *target_notes(TextAndTarget(_NO_TEXT, generated=whole)))
        if not whole.words:
            named = getattr(self.loaded.generation, "alignment_heads", None)
            why = "times need at least three written tokens" if named else "the model's files name no alignment heads"
            notes += (f"words have no times: {why}",)
        result = heads_result(self.loaded, stacks, request, warnings=(), notes=notes)
        return self._with_windows(replace(result, generated=whole), shown)

    def _write_window(self, place: int, count: int, request: HeadsRequest) -> _Passed:
        from attncli.api.generated import add_readings, describe_generated
        from attncli.attention.alignment_reader import AlignmentReader
        from attncli.attention.inputs import build_media_inputs
        from attncli.attention.stacks import collect
        from attncli.models.loading.greedy_decoding import greedy_decode
        from attncli.models.media.token_times import alignment_heads, token_starts

        arguments, scene = self._prepared(place)
        decoded = greedy_decode(self.loaded, build_media_inputs(self.loaded, arguments, scene).arguments, count)
        first = len(decoded.ids) - len(decoded.logits)
        prefix = [token._replace(special=True) for token in describe_ids(self.tokenizer, decoded.ids[:first])]
        new = number_words(tuple(describe_ids(self.tokenizer, decoded.ids[first:], first=first)))
        generated = describe_generated(self.tokenizer, decoded.ids[first:], decoded.logits)
        given = build_media_inputs(self.loaded, arguments, scene, (*prefix, *new))
        rows = written_from(TextAndTarget(_NO_TEXT, (*prefix, *new), generated))
        reader = AlignmentReader(alignment_heads(self.loaded))
        collected = collect(self.loaded, given, replace(request, traced=rows), reader)
        frames = self.windows[place].frames(self.extractor)
        starts = token_starts(self.loaded, reader.heads, reader.weights, first, frames)
        generated = add_readings(generated, collected)
        return _Passed(given, collected, self._timed(generated, new, starts[first:], place))

    def _timed(self, generated: Generated, tokens: Sequence[Token], starts: Sequence[float], place: int) -> Generated:
        """With the times of tokens and words in the whole sound. starts: in seconds in the window, empty if unknown."""
        window, several = self.windows[place], len(self.windows) > 1
        times = [window.start + start for start in starts]
        known: Sequence[float | None] = times or [None] * len(tokens)
        marked = (
            replace(token, window=place if several else None, start=start)
            for token, start in zip(generated.tokens, known, strict=True)
        )
        words = _timed_words(tokens, times, window.end, place) if times else ()
        return replace(generated, tokens=tuple(marked), words=tuple(words))

    def _prepared(self, place: int) -> tuple[dict[str, Any], Any]:
        """The arguments of a window's forward pass, and what their positions stand for."""
        from attncli.attention.inputs import SoundPositions

        window = self.windows[place]
        found = prepare_window(window, self.extractor, self.recording.name)
        # Models of raw waveforms state how many samples become one position.
        samples, rate = getattr(self.loaded.config, "inputs_to_logits_ratio", None), self.extractor.sampling_rate
        step = samples / rate if isinstance(samples, int) else None
        arguments = {name: value for name, value in found.items() if name in self.loaded.all_arguments}
        return arguments, SoundPositions(window.seconds, step, window.start)

    def _window_note(self, shown: int) -> Iterator[str]:
        if len(self.windows) > 1:
            window, whole = self.windows[shown], self.recording
            yield (
                f"{whole.name} lasts {whole.seconds:.1f} s, and the model reads {window.seconds:g} s at a time: "
                f"window {shown + 1} of {len(self.windows)} is shown, {window.start:g}–{window.end:g} s; "
                f"--key {self.windows[1 if shown == 0 else 0].start:g}s shows another"
            )

    def _with_windows(self, result: HeadsResult, shown: int) -> HeadsResult:
        if len(self.windows) == 1:
            return result
        spans = tuple((window.start, window.end) for window in self.windows)
        return replace(result, sound=Sound(self.recording.seconds, spans, shown))


_NO_TEXT = EncodedText((), (), ())


def _require_writer(loaded: LoadedModel) -> None:
    """Raise UsageError for a model that writes no text of a sound."""
    if not loaded.is_encoder_decoder or not loaded.module.can_generate():
        raise UsageError(
            f"{loaded.class_name} doesn't write what it hears",
            hint="leave --generate out, or use a model that transcribes, such as openai/whisper-tiny (-m)",
        )


def _prefix_length(loaded: LoadedModel) -> int:
    """The most tokens with which the decoder begins: its start, the language and the task, and one against times."""
    given = vars(loaded.generation) if loaded.generation is not None else {}
    return 1 + 2 * bool(given.get("lang_to_id")) + ("no_timestamps_token_id" in given)


def _timed_words(tokens: Sequence[Token], times: Sequence[float], end: float, place: int) -> Iterator[TimedWord]:
    """The words of new tokens. A word ends where the next token begins; the last one at the end of the sound.

    The last token has no time of its own: it is never the decoder's input as the model writes.
    """
    for word in dict.fromkeys(token.word for token in tokens if token.word is not None):
        inside = [number for number, token in enumerate(tokens) if token.word == word]
        first, after = inside[0], inside[-1] + 1
        stop = times[after] if after < len(tokens) - 1 else end
        text = "".join(tokens[number].text for number in inside).strip()
        yield TimedWord(text, times[first], stop, place, (first, after))


def _joined(parts: Sequence[Generated]) -> Generated:
    """What was written of all windows, as one text; the words' tokens are those of all."""
    words, before = list[TimedWord](), 0
    for part in parts:
        words += [replace(word, tokens=(word.tokens[0] + before, word.tokens[1] + before)) for word in part.words]
        before += len(part.ids)
    texts = [part.text for part in parts if part.text is not None]
    return Generated(
        tuple(number for part in parts for number in part.ids),
        "".join(texts) if texts else None,
        tuple(token for part in parts for token in part.tokens),
        tuple(words),
    )


def decoder_notes(text: EncodedText | None, inputs: ModelInputs) -> tuple[str, ...]:
    """Notes on what a decoder read beside a picture or a sound."""
    tokens: tuple[Token, ...] = (inputs.target or inputs.main).tokens[0]
    # A start token before the text shifts the indices.
    if text is not None and tokens[-1]._replace(index=0) != text.tokens[-1]._replace(index=0):
        return (f"the text was truncated to the {len(tokens):,} tokens that the model accepts",)
    if text is None and tokens:
        return ("the decoder's input was only its start token; a TEXT would be its input",)
    return ()
