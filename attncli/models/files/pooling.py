"""How a model's files say that its sentence vector is made (modules.json of sentence-transformers)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attncli.models.files.weight_headers import read_json

if TYPE_CHECKING:
    from attncli.models.files.model_files import ModelFiles

#: The settings of a pooling module, in old files a flag for each mode, and the mode that each stands for.
_MODES = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_lasttoken": "last",
}
_NAMES = {"mean": "mean", "cls": "cls", "max": "max", "lasttoken": "last"}


def sentence_pooling(files: ModelFiles) -> str | None:
    """`mean`, `cls`, `max` or `last`, as the model's files say; None where they say nothing, or something else.

    Raises ModelError for files that aren't JSON.
    """
    listed = files.find("modules.json")
    modules: Any = [] if listed is None else _read_list(listed.read_text("utf-8"))
    places = [each.get("path") for each in modules if str(each.get("type", "")).endswith("Pooling")]
    path = files.find(f"{places[0]}/config.json") if places and isinstance(places[0], str) else None
    if path is None:
        return None
    fields = read_json(path, repair_hint=files.repair_hint)
    named = _NAMES.get(str(fields.get("pooling_mode")))
    chosen = [mode for flag, mode in _MODES.items() if fields.get(flag) is True]
    return named or (chosen[0] if len(chosen) == 1 else None)


def _read_list(text: str) -> list[dict[str, Any]]:
    import json

    try:
        found = json.loads(text)
    except ValueError:
        return []
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
