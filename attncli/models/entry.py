"""How a model is run on text: its forward pass, or the tower for texts of a model that compares them with pictures."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from transformers import PreTrainedModel


def text_entry(model: PreTrainedModel) -> Callable[..., Any]:
    """What takes a text alone. Dual encoders (CLIP, SigLIP, CLAP) need a picture or a sound in their forward pass, and
    have a method that runs the other tower by itself."""
    features = getattr(model, "get_text_features", None)
    if features is not None and "input_ids" in inspect.signature(features).parameters:
        return features  # type: ignore[no-any-return]
    return model


def accepted_arguments(model: PreTrainedModel) -> frozenset[str]:
    """The names of the arguments that a model takes with a text."""
    entry = text_entry(model)
    signature = inspect.signature(model.forward if entry is model else entry)
    return frozenset(signature.parameters)
