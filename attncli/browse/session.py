"""What is browsed: one model on a text that can change (`LiveSession`), or a saved result (`SavedSession`)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from shlex import join
from threading import Lock
from typing import Any, NamedTuple

from attncli.api.heads import run_heads
from attncli.api.heads_input import HeadsInput
from attncli.api.loading import ModelLoader, OpenedOnce
from attncli.api.requests import EffectsRequest, HeadsOptions
from attncli.errors import AttnError, UsageError
from attncli.progress import Progress
from attncli.results.effects import Prediction
from attncli.results.heads import HeadsResult, Stack
from attncli.results.patterns import Span


class Overview(NamedTuple):
    """A text under the model. no_prediction: why it has none, where there is none."""

    result: HeadsResult
    no_prediction: AttnError | None = None


class Session(ABC):
    """What the app asks for. Every method may take the time of a forward pass, and raises AttnError."""

    text: str = ""
    has_model: bool = True

    @abstractmethod
    def open(self, text: str | None, progress: Progress) -> Overview:
        """The map and the prediction of a new text; None: of the text that was given."""

    @abstractmethod
    def patterns(self, stack: str, layer: int, progress: Progress) -> Stack:
        """A stack with the patterns of one layer, pooled where the text is long."""

    @abstractmethod
    def part(self, stack: str, head: str, rows: Span, columns: Span, progress: Progress) -> Stack:
        """A stack cut to these positions, with the pattern of one head."""

    @abstractmethod
    def steps(self, head: str, query: int, progress: Progress) -> HeadsResult:
        """The steps of one row."""

    @abstractmethod
    def effects(self, kind: str, progress: Progress) -> HeadsResult:
        """The effects of all heads."""

    @abstractmethod
    def without(self, head: str, answer: int, progress: Progress) -> Prediction:
        """The prediction without one head. answer: a token whose probability is followed."""

    @abstractmethod
    def page(self, progress: Progress) -> HeadsResult:
        """The result that a page shows: with the patterns of all heads."""

    @abstractmethod
    def command(self, *view: str) -> str:
        """The command that prints a view, which these options choose."""


class LiveSession(Session):
    """A model that is loaded once. Runs come one after another, as they change what its modules do.

    given: the words of the command line besides the text, to be repeated.  text_words: those that gave the text.
    """

    def __init__(
        self,
        inputs: HeadsInput,
        options: HeadsOptions,
        loader: ModelLoader,
        given: tuple[str, ...] = (),
        text_words: tuple[str, ...] = (),
    ) -> None:
        self._inputs, self._options = inputs, options
        self._loader = loader._replace(kept=OpenedOnce())
        self._given, self._text_words = given, text_words
        self._lock = Lock()
        self.text = inputs.text if isinstance(inputs.text, str) else ""

    def open(self, text: str | None, progress: Progress) -> Overview:
        inputs = self._inputs if text is None else self._inputs._replace(text=text, input_ids=None)
        found = self._overview(inputs, progress)
        if text is not None:
            self._inputs, self.text = inputs, text
            self._text_words = ("--", text) if text.startswith("-") else (text,)
        return found

    def _overview(self, inputs: HeadsInput, progress: Progress) -> Overview:
        asked = self._options.effects
        wanted = EffectsRequest(predict=True, answer=asked.answer)
        try:
            return Overview(self._run(progress, inputs, effects=wanted, query=self._at))
        except UsageError as error:
            # No language-model head, or no mask: a wrong text is refused again.
            return Overview(self._run(progress, inputs, effects=EffectsRequest()), error)

    def patterns(self, stack: str, layer: int, progress: Progress) -> Stack:
        return _stack(self._run(progress, layer=str(layer), stack=stack), stack)

    def part(self, stack: str, head: str, rows: Span, columns: Span, progress: Progress) -> Stack:
        query, key = (f"{start}:{end}" for start, end in (rows, columns))
        return _stack(self._run(progress, head=head, query=query, key=key), stack)

    def steps(self, head: str, query: int, progress: Progress) -> HeadsResult:
        return self._run(progress, steps=True, head=head, query=query)

    def effects(self, kind: str, progress: Progress) -> HeadsResult:
        asked = self._options.effects
        source = asked.patch_from if kind == "patch" else None
        return self._run(
            progress, effects=EffectsRequest(False, kind, asked.answer, asked.contrast, source), query=self._at
        )

    def without(self, head: str, answer: int, progress: Progress) -> Prediction:
        wanted = EffectsRequest(predict=True, answer=answer, without=head)
        prediction = self._run(progress, effects=wanted, query=self._at).prediction
        assert prediction is not None
        return prediction

    def page(self, progress: Progress) -> HeadsResult:
        return self._run(progress, patterns=True)

    def command(self, *view: str) -> str:
        asked = self._options.effects
        named = {"--answer": asked.answer, "--contrast": asked.contrast, "--patch-from": asked.patch_from}
        tokens = [str(word) for flag, value in named.items() if value is not None for word in (flag, value)]
        effects = tokens if "--effect" in view else []
        return join(["attn", "heads", *self._given, *view, *effects, *self._text_words])

    @property
    def _at(self) -> str | int | None:
        """Where the outcome is, if the command said so."""
        return self._options.query

    def _run(self, progress: Progress, inputs: HeadsInput | None = None, **changes: Any) -> HeadsResult:
        options = HeadsOptions(threshold=self._options.threshold, top=self._options.top)._replace(**changes)
        with self._lock:
            return run_heads(inputs or self._inputs, options, self._loader._replace(progress=progress))


class SavedSession(Session):
    """A saved result: what isn't in it needs the model.

    command: the command that shows it.
    """

    has_model = False

    def __init__(self, result: HeadsResult, command: str) -> None:
        self._result, self._command = result, command

    def open(self, text: str | None, progress: Progress) -> Overview:
        if text is not None:
            raise _needs_model("a new text")
        return Overview(self._result)

    def patterns(self, stack: str, layer: int, progress: Progress) -> Stack:
        found = _stack(self._result, stack)
        here = tuple(each for each in found.patterns if each.layer == layer)
        if not here:
            raise UsageError(
                f"the file has no patterns of layer {layer}", hint="save it with them: attn heads TEXT --patterns"
            )
        return replace(found, patterns=here)

    def part(self, stack: str, head: str, rows: Span, columns: Span, progress: Progress) -> Stack:
        raise _needs_model("opening a bin")

    def steps(self, head: str, query: int, progress: Progress) -> HeadsResult:
        raise _needs_model("another row's steps")

    def effects(self, kind: str, progress: Progress) -> HeadsResult:
        if self._result.effects is None or kind not in self._result.effects.kinds:
            raise _needs_model(f"the effect {kind}")
        return self._result

    def without(self, head: str, answer: int, progress: Progress) -> Prediction:
        raise _needs_model("ablating a head")

    def page(self, progress: Progress) -> HeadsResult:
        return self._result

    def command(self, *view: str) -> str:
        return self._command


def _stack(result: HeadsResult, name: str) -> Stack:
    return next(stack for stack in result.stacks if stack.stack == name)


def _needs_model(what: str) -> UsageError:
    return UsageError(
        f"{what} needs the model, and this is a saved result", hint="start with a text: attn heads TEXT --browse"
    )
