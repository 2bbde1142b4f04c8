"""How a model is run on text: its forward pass, or the tower for texts of a model that compares them with pictures.

How a model writes: the class that has its language-model head, what its decoder begins with, and greedy decoding.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import torch
import transformers
from torch import Tensor
from transformers import GenerationConfig, PreTrainedConfig, PreTrainedModel

from attncli.errors import ModelError, UsageError, reason_of
from attncli.models.loading.device import is_out_of_memory, memory_guard

if TYPE_CHECKING:
    from attncli.models.files.model_files import ModelFiles
    from attncli.models.loading.loaded_model import LoadedModel

#: What a model may be given beside a text, or instead of one.
Sense = Literal["image", "audio"]

#: What models call these.
SENSES: Mapping[Sense, tuple[str, ...]] = {"image": ("pixel_values",), "audio": ("input_features", "input_values")}

_SAID: Mapping[Sense, str] = {"image": "a picture", "audio": "a sound"}

#: What models call that of their inputs which is no text.
_OTHER_SENSES = re.compile(r"^(pixel_values|input_features|input_values|visual_feats|image_embeds|action_embeds)")


def entry_for(model: PreTrainedModel, arguments: Collection[str]) -> Callable[..., Any]:
    """What takes arguments of these names. Dual encoders (CLIP, SigLIP, CLAP) need a picture or a sound in their
    forward pass, and have a method that runs the tower for texts by itself."""
    whole: Callable[..., Any] = model
    if not any(_OTHER_SENSES.match(name) for name in arguments):
        return _text_tower(model) or whole
    texts = {"input_ids", "decoder_input_ids"} & set(arguments)
    return whole if texts else _other_tower(model, arguments) or whole


def refuse_without_sense(model: type[PreTrainedModel], sense: Sense, name: str) -> None:
    """Raise UsageError for a model whose forward pass takes no pictures, or no sounds."""
    parameters = inspect.signature(model.forward).parameters
    if any(argument in parameters for argument in SENSES[sense]):
        return
    others = [other for other, arguments in SENSES.items() if any(argument in parameters for argument in arguments)]
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
        given = [sense for sense, names in SENSES.items() if any(name in arguments for name in names)]
        if given and not is_out_of_memory(error):
            raise _refused(model, given[0], error) from error
        if isinstance(error, LookupError | RuntimeError) or not others or any(name in arguments for name in others):
            raise
        missing = next((sense for sense, names in SENSES.items() if any(name in others for name in names)), None)
        flag = f"give it {_SAID[missing]} with --{missing}, or " if missing else ""
        raise ModelError(
            f"{type(model).__name__} can't run on a text alone: it takes {' or '.join(others)} as well",
            hint=f"{flag}name a model of texts (-m)",
        ) from error


def _refused(model: PreTrainedModel, sense: Sense, error: Exception) -> ModelError:
    what = _SAID[sense].split()[1]
    return ModelError(
        f"{type(model).__name__} can't be run on this {what}: {reason_of(error)}",
        hint=f"its way to take a {what} isn't known here: name another model (-m)",
    )


_FILE = "generation_config.json"


def writing_class(config: PreTrainedConfig) -> type[PreTrainedModel] | None:
    """The class that goes on from token to token; None where transformers has none for this architecture."""
    if not config.is_encoder_decoder and type(config) in transformers.MODEL_FOR_MASKED_LM_MAPPING:
        return None
    mapping = (
        transformers.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING
        if config.is_encoder_decoder
        else transformers.MODEL_FOR_CAUSAL_LM_MAPPING
    )
    found = mapping.get(type(config), None)
    cls: type[PreTrainedModel] | None = found[0] if isinstance(found, tuple | list) else found
    return cls


def generation_config(files: ModelFiles, config: PreTrainedConfig) -> GenerationConfig:
    """What a model's own file says of how it writes, or what its configuration does where there is no such file."""
    path = files.find(_FILE)
    if path is None:
        return GenerationConfig.from_model_config(config)
    try:
        return GenerationConfig.from_pretrained(str(path.parent), path.name, local_files_only=True)
    except (ValueError, TypeError, OSError) as error:
        message = f"{path.name} of {files.ref.name} is not valid: {reason_of(error)}"
        raise ModelError(message, hint=files.mend) from error


def greedy(model: LoadedModel, arguments: Mapping[str, Tensor | bool], count: int) -> list[int]:
    """`count` tokens at most, always the likeliest, as transformers' `generate(do_sample=False, num_beams=1)` gives.

    arguments: of a forward pass on one text.  Answers the whole sequence of what writes: the decoder's with what it
    starts from, or that of a decoder-only model, the text included.

    Raises UsageError for a model that doesn't write, ModelError where transformers can't run it.
    """
    module: Any = model.module
    if not module.can_generate():
        raise UsageError(
            f"{model.class_name} has no language-model head to write with",
            hint="leave --generate out; or name a model that writes, or pass one with its head",
        )
    given = {name: value.to(model.device) for name, value in arguments.items() if isinstance(value, Tensor)}
    given.pop("decoder_input_ids", None)
    training = module.training
    try:
        with memory_guard(model.device, lambda: module), torch.no_grad():
            ids: Tensor = module.eval().generate(**given, do_sample=False, num_beams=1, max_new_tokens=count)
    except (ValueError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{model.class_name} can't write by itself: {reason_of(error)}", hint="give the text with --target"
        ) from error
    finally:
        module.train(training)
    return _ids(ids)


def _ids(sequences: Tensor) -> list[int]:
    row: Sequence[int] = sequences[0].tolist()
    return list(row)


def head_names(module: PreTrainedModel) -> set[str]:
    """The parameters of a model's language-model head."""
    head = module.get_output_embeddings()
    own = set() if head is None else {id(parameter) for parameter in head.parameters()}
    return {name for name, parameter in module.named_parameters(remove_duplicate=False) if id(parameter) in own}
