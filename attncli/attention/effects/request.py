"""What is asked of a prediction and of effects, checked before torch is imported: `parse_effects` makes a plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import NamedTuple

from attncli.attention.positions import Position
from attncli.effects import EFFECTS
from attncli.errors import UsageError

#: A token as typed, or its id.
TypedToken = str | int


@dataclass(frozen=True)
class EffectsPlan:
    """A prediction, effects, or both.

    predict: show what the model expects.  kinds: of effects, in the order asked for.
    answer, contrast: as typed; None for the default.  patch_from: the text that heads are patched from.
    query: the position; None for the default, the last, or a masked language model's first mask.
    without: the head, as typed, whose output is replaced by zeros when the model predicts.
    """

    predict: bool = False
    kinds: tuple[str, ...] = ()
    answer: TypedToken | None = None
    contrast: TypedToken | None = None
    patch_from: str | None = None
    query: Position | None = None
    without: str | None = None

    @property
    def needs_head(self) -> bool:
        """Whether it takes a language-model head."""
        tokens = self.answer is not None or self.contrast is not None
        return self.predict or tokens or any(EFFECTS[kind].needs_head for kind in self.kinds)

    @property
    def flag(self) -> str:
        """The option to name in messages."""
        return f"--effect {','.join(self.kinds)}" if self.kinds else "--predict"


class Asked(NamedTuple):
    """The options of a prediction and of effects, as given. columns: what a file gives for each of its texts."""

    predict: bool
    kinds: str | Sequence[str]
    answer: TypedToken | None
    contrast: TypedToken | None
    patch_from: str | None
    without: str | None = None
    columns: Sequence[str] = ()


def parse_effects(asked: Asked, query: Position | None, others: Mapping[str, bool]) -> EffectsPlan | None:
    """The plan, or None where neither a prediction nor effects are asked for.

    others: options that go with neither, and whether each was given.
    Raises UsageError for an unknown kind and for options that contradict each other.
    """
    kinds = parse_kinds(asked.kinds)
    _check_tokens(asked, kinds)
    if not (kinds or asked.predict):
        return None
    plan = EffectsPlan(asked.predict, kinds, asked.answer, asked.contrast, asked.patch_from, query, asked.without)
    wrong = next((flag for flag, given in others.items() if given), None)
    if wrong is not None:
        raise UsageError(f"{plan.flag} and {wrong} can't be combined", hint="leave one of them out")
    if query is not None and query.is_slice:
        raise UsageError(
            f"{plan.flag} is about one position, and {query.typed} is a slice", hint=f"{query.flag} takes one position"
        )
    return plan


def parse_kinds(given: str | Sequence[str]) -> tuple[str, ...]:
    """The kinds of effects, each once. Raises UsageError for one that isn't known, and where none is named."""
    texts = [given] if isinstance(given, str) else list(given)
    kinds = [part.strip() for text in texts for part in text.split(",")]
    for kind in kinds:
        if kind not in EFFECTS:
            near = get_close_matches(kind, EFFECTS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"--effect takes {', '.join(EFFECTS)}, or several of them"
            raise UsageError(f"--effect: there is no effect {kind!r}", hint=hint)
    return tuple(dict.fromkeys(kinds))


def _check_tokens(asked: Asked, kinds: Sequence[str]) -> None:
    """Raise UsageError for a token or a text that nothing asked for needs, and for a text that is missing."""
    needs_source = next((kind for kind in kinds if EFFECTS[kind].needs_source), None)
    if asked.contrast is not None and not kinds:
        raise UsageError(
            "--contrast works only with effects of heads",
            hint="add --effect direct, or leave --contrast out",
        )
    if asked.answer is not None and not (kinds or asked.predict):
        raise UsageError(
            "--answer works only with a prediction or with effects of heads",
            hint="add --predict or --effect direct, or leave --answer out",
        )
    if asked.patch_from is not None and needs_source is None:
        raise UsageError(
            "--patch-from works only with activation patching",
            hint="add --effect patch, or leave --patch-from out",
        )
    if asked.patch_from is None and needs_source is not None and "patch_from" not in asked.columns:
        raise UsageError(
            f"--effect {needs_source} needs a second text",
            hint="add --patch-from TEXT, a text with the same number of tokens",
        )
    if asked.patch_from is not None and not asked.patch_from.strip():
        raise UsageError("--patch-from: the text is empty", hint="give it some text")
