"""How a model is run on text: its forward pass, or the tower for texts of a model that compares them with pictures."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

from transformers import PreTrainedModel

from attncli.errors import ModelError

#: What models call that of their inputs which is no text.
_OTHER_SENSES = re.compile(r"^(pixel_values|input_features|input_values|visual_feats|image_embeds|action_embeds)")


def entry_for(model: PreTrainedModel, arguments: Collection[str]) -> Callable[..., Any]:
    """What takes arguments of these names. Dual encoders (CLIP, SigLIP, CLAP) need a picture or a sound in their
    forward pass, and have a method that runs the tower for texts by itself."""
    whole: Callable[..., Any] = model
    if any(_OTHER_SENSES.match(name) for name in arguments):
        return whole
    return _text_tower(model) or whole


def accepted_arguments(model: PreTrainedModel) -> frozenset[str]:
    """The names of the arguments that a model takes with a text."""
    return frozenset(inspect.signature(_text_tower(model) or type(model).forward).parameters)


def _text_tower(model: PreTrainedModel) -> Callable[..., Any] | None:
    features: Callable[..., Any] | None = getattr(model, "get_text_features", None)
    takes_text = features is not None and "input_ids" in inspect.signature(features).parameters
    return features if takes_text else None


@contextmanager
def text_alone(model: PreTrainedModel, arguments: Collection[str]) -> Iterator[None]:
    """Around a run of the model on these arguments: where it can't do without a picture or a sound, ModelError says
    so."""
    others = sorted(name for name in accepted_arguments(model) if _OTHER_SENSES.match(name))
    try:
        yield
    except (TypeError, ValueError, AttributeError) as error:
        if not others or any(name in arguments for name in others):
            raise
        raise ModelError(
            f"{type(model).__name__} can't run on a text alone: it takes {' or '.join(others)} as well",
            hint="name a model of texts (-m)",
        ) from error
