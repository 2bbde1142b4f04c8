"""How a model writes: the class with its language-model head, its generation settings, and greedy decoding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
import transformers
from torch import Tensor
from transformers import GenerationConfig, PreTrainedConfig, PreTrainedModel

from attncli.errors import ModelError, UsageError, reason_of
from attncli.models.loading.device import memory_guard

if TYPE_CHECKING:
    from attncli.models.files.model_files import ModelFiles
    from attncli.models.loading.loaded_model import LoadedModel


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
        raise ModelError(message, hint=files.repair_hint) from error


def greedy_decode(model: LoadedModel, arguments: Mapping[str, Tensor | bool], count: int) -> list[int]:
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
