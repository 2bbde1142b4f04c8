"""The settings by which a model's pictures or sounds are made ready for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from attncli.errors import ModelError, UsageError
from attncli.models.headers import read_json

if TYPE_CHECKING:
    from attncli.models.files import ModelFiles

#: The file of these settings alone, and the newer one in which they stand beside those of a tokenizer.
SETTINGS, TOGETHER = "preprocessor_config.json", "processor_config.json"


def without_text(files: ModelFiles) -> UsageError | None:
    """What to say of a text for a model without a tokenizer, if it takes pictures or sounds; None if it doesn't."""
    path = files.find(SETTINGS) or files.find(TOGETHER)
    if path is None:
        return None
    settings = read_json(path, mend=files.mend)
    # Older files call what makes pictures ready a feature extractor, too.
    hears = "sampling_rate" in settings or "feature_extractor" in settings
    reads, instead = ("sounds", "a sound with --audio") if hears else ("pictures", "a picture with --image")
    return UsageError(f"{files.ref.name} reads {reads} and no text", hint=f"give it {instead}, and leave the text out")


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
