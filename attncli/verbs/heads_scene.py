"""A picture or a sound, alone or with a text, for `heads`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attncli.verbs.heads_one import OneText
from attncli.verbs.heads_result import heads_result
from attncli.verbs.running import Opening
from attncli.verbs.senses import open_scene

if TYPE_CHECKING:
    from attncli.attention.selection import Wanted
    from attncli.results.heads import HeadsResult


def look_at_scene(
    image: str | Path | None,
    audio: str | Path | None,
    one: OneText,
    opening: Opening,
    wanted: Wanted,
    *,
    processor: Any,
    beside: Mapping[str, bool],
) -> HeadsResult:
    """Run the model on a picture or a sound, and on the text if there is one.

    processor: of a model that was handed over.  beside: what does not go with a picture, and whether it was asked for.
    """
    scene = open_scene(image, audio, beside=beside)
    files = opening.files()
    encoded = None
    if one.text is not None or one.ids is not None:
        encoded = one.encode(opening.find_tokenizer(files, needed=one.ids is None))
    loaded = opening.load(files, wanted.selection.depth, sense=scene.sense)
    looked = scene.look(loaded, files, processor, encoded, wanted, truncate=one.truncate)
    result = heads_result(loaded, looked.stacks, wanted, warnings=(), notes=looked.notes)
    return replace(result, picture=looked.picture)
