"""The result of `heads`, put together: what the model is, what its stacks do, and what a reader should know of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from attncli.verbs.made_by import made_by
from attncli.verbs.reading import UNMEASURED, is_unmeasured

if TYPE_CHECKING:
    from attncli.attention.selection import Selection, Wanted
    from attncli.models.loading.loaded_model import LoadedModel
    from attncli.results.heads import HeadsResult, Stack


def heads_result(
    loaded: LoadedModel, stacks: tuple[Stack, ...], wanted: Wanted, *, warnings: tuple[str, ...], notes: tuple[str, ...]
) -> HeadsResult:
    """What every look at heads comes to. warnings: beside those of the model's loading."""
    from attncli.results.heads import HeadsResult

    return HeadsResult(
        model=loaded.name,
        device=str(loaded.device),
        dtype=loaded.dtype,
        stacks=stacks,
        made_by=made_by("tokenizers", "transformers", "torch", model_class=loaded.class_name, revision=loaded.revision),
        warnings=(*loaded.warnings, *warnings),
        notes=(*notes, *_notes_on_shape(stacks, wanted)),
        chosen=wanted.shows_patterns,
    )


def _notes_on_shape(stacks: tuple[Stack, ...], wanted: Wanted) -> Iterator[str]:
    """What shapes patterns, where none is shown."""
    if wanted.patterns:
        return
    sketched = any(stack.sketches for stack in stacks)
    shaping = {
        "--norm-weighted": wanted.weighting == "norm",
        "--hide-special": wanted.view.hide_special and not sketched,
        f"--by {wanted.view.by}": wanted.view.by != "token" and not sketched,
    }
    for flag in (flag for flag, given in shaping.items() if given):
        yield f"{flag} shapes patterns, and none is shown here: choose some with -l, -H or --query"


def warnings_on_unread(unread: Iterable[tuple[str, str]], selection: Selection) -> Iterator[str]:
    """The stacks that attend in a way that neither the interface nor their modules show."""
    if selection.stack is None:
        for stack, mixer in unread:
            yield f"the attention of the {stack} can't be read and is left out: {mixer}"


def notes_on(stacks: tuple[Stack, ...], without_repeats: str) -> Iterator[str]:
    """What a reader should know of the numbers themselves."""
    if is_unmeasured(stacks):
        yield UNMEASURED
        return
    positional = [stack for stack in stacks if stack.stack != "cross"]
    repeated = any(head.values["induction"] is not None for stack in positional for head in stack.metrics)
    if positional and not repeated:
        yield f"{without_repeats}, so that duplicate and induction are null (--probe shows them)"
