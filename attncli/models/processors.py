"""The settings by which a model's pictures or sounds are made ready for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from attncli.errors import ModelError
from attncli.models.headers import read_json

if TYPE_CHECKING:
    from attncli.models.files import ModelFiles

#: The file of these settings alone, and the newer one in which they stand beside those of a tokenizer.
SETTINGS, TOGETHER = "preprocessor_config.json", "processor_config.json"


def processor_settings(files: ModelFiles, part: Literal["image_processor", "feature_extractor"]) -> dict[str, Any]:
    """The settings of one part. Raises ModelError where the model has none."""
    together = files.find(TOGETHER)
    if together is not None and isinstance(inner := read_json(together, mend=files.mend).get(part), dict):
        return inner
    path = files.find(SETTINGS)
    if path is None:
        what = "pictures" if part == "image_processor" else "sounds"
        raise files.why_missing() or ModelError(
            f"{files.ref.name} doesn't say how {what} are made ready for it: it has no {SETTINGS}",
            hint=f"name a model of {what} (-m), or put that file beside its config.json",
        )
    return read_json(path, mend=files.mend)
