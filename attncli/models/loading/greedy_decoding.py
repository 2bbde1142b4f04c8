"""Generating text: the class with a language-model head, the generation configuration, and greedy decoding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
import transformers
from torch import Tensor
from transformers import GenerationConfig, PreTrainedConfig, PreTrainedModel

from attncli.errors import AttnError, ModelError, UsageError, reason_of
from attncli.models.loading.device import is_out_of_memory, memory_guard

if TYPE_CHECKING:
    from attncli.models.files.model_files import ModelFiles
    from attncli.models.loading.loaded_model import LoadedModel


_GENERATION_CONFIG = "generation_config.json"


def generation_class(config: PreTrainedConfig) -> type[PreTrainedModel] | None:
    """The class with a language-model head that generates text; None if transformers has none for this architecture."""
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
    """The content of generation_config.json, or else the generation settings in the model's configuration."""
    path = files.find(_GENERATION_CONFIG)
    try:
        if path is None:
            return GenerationConfig.from_model_config(config)
        return GenerationConfig.from_pretrained(str(path.parent), path.name, local_files_only=True)
    except Exception as error:  # settings of wrong types raise almost anything
        name = "config.json" if path is None else path.name
        message = f"{name} of {files.ref.name} is not valid: {reason_of(error)}"
        raise ModelError(message, hint=files.repair_hint) from error


def greedy_decode(model: LoadedModel, arguments: Mapping[str, Tensor | bool], count: int) -> list[int]:
    """Up to `count` tokens, each the most likely one: transformers' `generate(do_sample=False, num_beams=1)`.

    arguments: of a forward pass on one text.  Returns all token ids of the decoder, including its start tokens, or
    those of a decoder-only model, including the text.

    Raises UsageError for a model that can't generate, ModelError if transformers can't run it.
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
    except AttnError:
        raise
    except Exception as error:  # settings of wrong types raise almost anything
        if is_out_of_memory(error):
            raise
        raise ModelError(
            f"{model.class_name} can't write by itself: {reason_of(error)}", hint="give the text with --target"
        ) from error
    finally:
        module.train(training)
    row: list[int] = ids[0].tolist()
    return row


def head_parameter_names(module: PreTrainedModel) -> set[str]:
    """The names of the parameters of a model's language-model head."""
    head = module.get_output_embeddings()
    own = set() if head is None else {id(parameter) for parameter in head.parameters()}
    return {name for name, parameter in module.named_parameters(remove_duplicate=False) if id(parameter) in own}
