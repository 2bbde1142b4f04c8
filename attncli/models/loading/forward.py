"""Choosing the method that runs a model on given inputs: its forward pass, or one tower of a dual encoder."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

from transformers import PreTrainedModel

from attncli.errors import ModelError, UsageError, reason_of
from attncli.models.loading.library_errors import is_out_of_memory

#: The inputs that a model may take besides text, or instead of it.
Modality = Literal["image", "audio"]

#: The names of the forward pass's arguments for each modality.
MODALITIES: Mapping[Modality, tuple[str, ...]] = {
    "image": ("pixel_values", "flattened_patches", "pixel_values_videos"),
    "audio": ("input_features", "input_values"),
}

#: Arguments that hold a picture or a sound.
MEDIA_ARGUMENTS = frozenset(name for names in MODALITIES.values() for name in names)

_MODALITY_WORDS: Mapping[Modality, str] = {"image": "a picture", "audio": "a sound"}

#: The names of all arguments that are no text.
_NON_TEXT_ARGUMENTS = re.compile(
    r"^(pixel_values|flattened_patches|input_features|input_values|visual_feats|image_embeds|action_embeds)"
)


def forward_method(model: PreTrainedModel, arguments: Collection[str]) -> Callable[..., Any]:
    """The method to call with these arguments: the forward pass, or for a dual encoder (CLIP, SigLIP, CLAP), whose
    forward pass needs both inputs, the method that runs one of its towers."""
    whole: Callable[..., Any] = model
    if not any(_NON_TEXT_ARGUMENTS.match(name) for name in arguments):
        return _text_tower(model) or whole
    texts = {"input_ids", "decoder_input_ids"} & set(arguments)
    return whole if texts else _modality_tower(model, arguments) or whole


def refuse_without_modality(model: type[PreTrainedModel], modality: Modality, name: str) -> None:
    """Raise UsageError for a model whose forward pass takes no input of this modality."""
    parameters = inspect.signature(model.forward).parameters
    if any(argument in parameters for argument in MODALITIES[modality]):
        return
    others = [other for other, arguments in MODALITIES.items() if any(argument in parameters for argument in arguments)]
    instead = f"{_MODALITY_WORDS[others[0]]} with --{others[0]}" if others else "a text"
    raise UsageError(
        f"{name} doesn't read {_MODALITY_WORDS[modality].split()[1]}s",
        hint=f"give it {instead} instead of --{modality}, or use another model (-m)",
    )


def accepted_arguments(model: PreTrainedModel) -> frozenset[str]:
    """The names of the arguments that a model takes together with text."""
    return frozenset(inspect.signature(_text_tower(model) or type(model).forward).parameters)


def all_arguments(model: PreTrainedModel) -> frozenset[str]:
    """The names of the arguments of the forward pass."""
    return frozenset(inspect.signature(type(model).forward).parameters)


def needs_text(model: PreTrainedModel, arguments: Collection[str]) -> bool:
    """Whether a model needs text in addition to these arguments, as captioning models do."""
    return "input_ids" in all_arguments(model) and _modality_tower(model, arguments) is None


def _text_tower(model: PreTrainedModel) -> Callable[..., Any] | None:
    features: Callable[..., Any] | None = getattr(model, "get_text_features", None)
    takes_text = features is not None and "input_ids" in inspect.signature(features).parameters
    return features if takes_text else None


def _modality_tower(model: PreTrainedModel, arguments: Collection[str]) -> Callable[..., Any] | None:
    """The method that runs the picture or sound tower of a dual encoder."""
    if _text_tower(model) is None:
        return None
    methods = (getattr(model, name, None) for name in ("get_image_features", "get_audio_features"))
    towers = (method for method in methods if method is not None)
    return next((tower for tower in towers if set(arguments) <= set(inspect.signature(tower).parameters)), None)


@contextmanager
def report_run_errors(model: PreTrainedModel, arguments: Collection[str]) -> Iterator[None]:
    """Around a run of the model on these arguments: raises ModelError if it needs a picture or a sound too, or fails on
    the one that it was given."""
    others = sorted(name for name in accepted_arguments(model) if _NON_TEXT_ARGUMENTS.match(name))
    try:
        yield
    except (TypeError, ValueError, AttributeError, LookupError, RuntimeError) as error:
        given = [modality for modality, names in MODALITIES.items() if any(name in arguments for name in names)]
        if given and not is_out_of_memory(error):
            what = _MODALITY_WORDS[given[0]].split()[1]
            raise ModelError(
                f"{type(model).__name__} can't be run on this {what}: {reason_of(error)}",
                hint=f"attn doesn't know how this model reads a {what}: use another model (-m)",
            ) from error
        if isinstance(error, LookupError | RuntimeError) or not others or any(name in arguments for name in others):
            raise
        missing = next(
            (modality for modality, names in MODALITIES.items() if any(name in others for name in names)), None
        )
        flag = f"give it {_MODALITY_WORDS[missing]} with --{missing}, or " if missing else ""
        raise ModelError(
            f"{type(model).__name__} can't run on only a text: it also needs {' or '.join(others)}",
            hint=f"{flag}use a model that reads text (-m)",
        ) from error
