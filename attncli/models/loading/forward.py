"""How a model is run on text: its forward pass, or the tower for texts of a model that compares them with pictures."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from transformers import PreTrainedModel

from attncli.errors import ModelError, UsageError, reason_of
from attncli.models.loading.device import is_out_of_memory

if TYPE_CHECKING:
    pass

#: What a model may be given beside a text, or instead of one.
Modality = Literal["image", "audio"]

#: What models call these.
MODALITIES: Mapping[Modality, tuple[str, ...]] = {
    "image": ("pixel_values",),
    "audio": ("input_features", "input_values"),
}

_SAID: Mapping[Modality, str] = {"image": "a picture", "audio": "a sound"}

#: What models call that of their inputs which is no text.
_OTHER_SENSES = re.compile(r"^(pixel_values|input_features|input_values|visual_feats|image_embeds|action_embeds)")


def forward_for(model: PreTrainedModel, arguments: Collection[str]) -> Callable[..., Any]:
    """What takes arguments of these names. Dual encoders (CLIP, SigLIP, CLAP) need a picture or a sound in their
    forward pass, and have a method that runs the tower for texts by itself."""
    whole: Callable[..., Any] = model
    if not any(_OTHER_SENSES.match(name) for name in arguments):
        return _text_tower(model) or whole
    texts = {"input_ids", "decoder_input_ids"} & set(arguments)
    return whole if texts else _other_tower(model, arguments) or whole


def refuse_without_modality(model: type[PreTrainedModel], sense: Modality, name: str) -> None:
    """Raise UsageError for a model whose forward pass takes no pictures, or no sounds."""
    parameters = inspect.signature(model.forward).parameters
    if any(argument in parameters for argument in MODALITIES[sense]):
        return
    others = [other for other, arguments in MODALITIES.items() if any(argument in parameters for argument in arguments)]
    instead = f"{_SAID[others[0]]} with --{others[0]}" if others else "a text"
    raise UsageError(
        f"{name} takes no {_SAID[sense].split()[1]}s",
        hint=f"give it {instead} instead of --{sense}, or name another model (-m)",
    )


def accepted_arguments(model: PreTrainedModel) -> frozenset[str]:
    """The names of the arguments that a model takes with a text."""
    return frozenset(inspect.signature(_text_tower(model) or type(model).forward).parameters)


def all_arguments(model: PreTrainedModel) -> frozenset[str]:
    """The names of the arguments that its forward pass takes."""
    return frozenset(inspect.signature(type(model).forward).parameters)


def needs_text(model: PreTrainedModel, arguments: Collection[str]) -> bool:
    """Whether a model that is given a picture or a sound can't do without a text: one that puts it into words."""
    return "input_ids" in all_arguments(model) and _other_tower(model, arguments) is None


def _text_tower(model: PreTrainedModel) -> Callable[..., Any] | None:
    features: Callable[..., Any] | None = getattr(model, "get_text_features", None)
    takes_text = features is not None and "input_ids" in inspect.signature(features).parameters
    return features if takes_text else None


def _other_tower(model: PreTrainedModel, arguments: Collection[str]) -> Callable[..., Any] | None:
    """The tower for pictures or sounds of a dual encoder."""
    if _text_tower(model) is None:
        return None
    methods = (getattr(model, name, None) for name in ("get_image_features", "get_audio_features"))
    towers = (method for method in methods if method is not None)
    return next((tower for tower in towers if set(arguments) <= set(inspect.signature(tower).parameters)), None)


@contextmanager
def runnable(model: PreTrainedModel, arguments: Collection[str]) -> Iterator[None]:
    """Around a run of the model on these arguments: ModelError where it can't do without a picture or a sound, or
    can't do with the one that it was given."""
    others = sorted(name for name in accepted_arguments(model) if _OTHER_SENSES.match(name))
    try:
        yield
    except (TypeError, ValueError, AttributeError, LookupError, RuntimeError) as error:
        given = [sense for sense, names in MODALITIES.items() if any(name in arguments for name in names)]
        if given and not is_out_of_memory(error):
            raise _refused(model, given[0], error) from error
        if isinstance(error, LookupError | RuntimeError) or not others or any(name in arguments for name in others):
            raise
        missing = next((sense for sense, names in MODALITIES.items() if any(name in others for name in names)), None)
        flag = f"give it {_SAID[missing]} with --{missing}, or " if missing else ""
        raise ModelError(
            f"{type(model).__name__} can't run on a text alone: it takes {' or '.join(others)} as well",
            hint=f"{flag}name a model of texts (-m)",
        ) from error


def _refused(model: PreTrainedModel, sense: Modality, error: Exception) -> ModelError:
    what = _SAID[sense].split()[1]
    return ModelError(
        f"{type(model).__name__} can't be run on this {what}: {reason_of(error)}",
        hint=f"its way to take a {what} isn't known here: name another model (-m)",
    )
