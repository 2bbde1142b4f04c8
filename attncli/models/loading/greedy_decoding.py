"""Generating text: the generation configuration, and greedy decoding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedConfig, PreTrainedModel
from transformers.utils import ModelOutput

from attncli.errors import UsageError
from attncli.models.loading.device import memory_guard
from attncli.models.loading.library_errors import library_errors

if TYPE_CHECKING:
    from attncli.models.files.model_files import ModelFiles
    from attncli.models.loading.loaded_model import LoadedModel


def generation_config(files: ModelFiles, config: PreTrainedConfig) -> GenerationConfig:
    """The content of generation_config.json, or else the generation settings in the model's configuration."""
    path = files.find("generation_config.json")
    name = "config.json" if path is None else path.name
    # Settings of wrong types raise almost anything.
    with library_errors(f"{name} of {files.ref.name} is not valid", files.repair_hint):
        if path is None:
            return GenerationConfig.from_model_config(config)
        return GenerationConfig.from_pretrained(str(path.parent), path.name, local_files_only=True)


class Decoded(NamedTuple):
    """ids: of the decoder, including its start tokens, or of a decoder-only model, including the text.

    logits: the model's own, before any penalty, of the last tokens: those that are new, (new tokens, vocabulary).
    """

    ids: list[int]
    logits: Tensor


def greedy_decode(model: LoadedModel, arguments: Mapping[str, Tensor | bool], count: int) -> Decoded:
    """Up to `count` tokens, each the most likely one: transformers' `generate(do_sample=False, num_beams=1)`.

    arguments: of a forward pass on one text.

    Raises UsageError for a model that can't generate, ModelError if transformers can't run it.
    """
    module: Any = model.module
    if not module.can_generate():
        raise UsageError(
            f"{model.class_name} has no language-model head, so it can't generate text",
            hint="leave --generate out, or use a model with a language-model head",
        )
    given = {name: value.to(model.device) for name, value in arguments.items() if isinstance(value, Tensor)}
    given.pop("decoder_input_ids", None)
    generate = module.generate if model.adapter is None else model.adapter.generate
    # Settings of wrong types raise almost anything.
    errors = library_errors(
        f"{model.class_name} can't generate text by itself", "give the decoder's text with --target"
    )
    with errors, memory_guard(model.device, lambda: module), model.borrowed():
        if model.virtual_tokens:
            return _decode_by_passes(model, given, count)
        output = generate(
            **given,
            do_sample=False,
            num_beams=1,
            max_new_tokens=count,
            return_dict_in_generate=True,
            output_logits=True,
        )
        return Decoded(output.sequences[0].tolist(), torch.cat(output.logits))


def _decode_by_passes(model: LoadedModel, given: Mapping[str, Tensor], count: int) -> Decoded:
    """Greedy decoding by a whole pass for every token, for adapters with virtual tokens.

    In peft's `generate` the cache of transformers takes the place of a prefix, which is then forgotten, and positions
    after a prompt are miscounted (peft 0.21 with transformers 5.24).
    """
    assert model.adapter is not None
    stop = model.module.generation_config.eos_token_id
    stops = set(stop if isinstance(stop, list) else [stop])
    decodes = bool(model.config.is_encoder_decoder)
    ids = list(model.decoder_prefix) if decodes else given["input_ids"][0].tolist()
    rows = []
    for _ in range(count):
        row = torch.tensor([ids], device=model.device)
        added = {"decoder_input_ids": row} if decodes else {"input_ids": row, "attention_mask": torch.ones_like(row)}
        rows.append(model.adapter(**{**given, **added}, use_cache=False).logits[0, -1])
        ids.append(int(rows[-1].argmax()))
        if ids[-1] in stops:
            break
    return Decoded(ids, torch.stack(rows))


def extended_arguments(
    model: LoadedModel, arguments: Mapping[str, Tensor | bool], ids: list[int]
) -> dict[str, Tensor | bool]:
    """The arguments of a forward pass on a text and what was generated after it, as `generate` extends them.

    Token types and masks are continued by the model's own rule: PaliGemma's written tokens see earlier ones alone.
    """
    module: Any = model.module
    tensors = {name: value for name, value in arguments.items() if isinstance(value, Tensor)}
    text = tensors.pop("input_ids")
    extended: dict[str, Any] = tensors
    for _ in ids:
        extended = module._update_model_kwargs_for_generation(ModelOutput(), extended, is_encoder_decoder=False)
    others = {name: value for name, value in arguments.items() if not isinstance(value, Tensor)}
    return {"input_ids": torch.cat([text, text.new_tensor([ids])], dim=1), **extended, **others}


def head_parameter_names(module: PreTrainedModel) -> set[str]:
    """The names of the parameters of a model's language-model head."""
    head = module.get_output_embeddings()
    own = set() if head is None else {id(parameter) for parameter in head.parameters()}
    return {name for name, parameter in module.named_parameters(remove_duplicate=False) if id(parameter) in own}
