"""Presets -> configurations of transformers, or modules of our own, on the meta device."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from transformers import CONFIG_MAPPING, PreTrainedConfig

from attncli.errors import UsageError, reason_of
from attncli.models.architecture import empty_module, whole_class
from attncli.models.changed import whole_number
from attncli.models.presets import Preset
from attncli.models.reference import closest


def preset_config(preset: Preset) -> PreTrainedConfig | None:
    """The configuration of a preset; None for a module of our own, which has none."""
    if preset.module is not None:
        return None
    fields = dict(preset.fields)
    config: PreTrainedConfig = CONFIG_MAPPING[fields.pop("model_type")](**fields)
    return config


def preset_module(preset: Preset) -> nn.Module:
    """The module of a preset, without weights.

    Raises UsageError where its numbers, changed by `--set`, don't make a model.
    """
    config = preset_config(preset)
    if config is not None:
        return empty_module(whole_class(config), config)
    try:
        with torch.device("meta"):
            return MODULES[str(preset.module)](preset.fields)
    except (ValueError, TypeError, RuntimeError, AssertionError, ArithmeticError) as error:
        raise UsageError(
            f"{preset.title} can't be built with these numbers: {reason_of(error)}",
            hint="set d_model to a multiple of num_heads",
        ) from error


def changed_preset(preset: Preset, changes: Sequence[str]) -> Preset:
    """The preset of a module of our own with other numbers in it, each `key=value`.

    Raises UsageError for a name that it doesn't have and for what is no whole number from 1 on.
    """
    fields = dict(preset.fields)
    for change in changes:
        key, _, value = (part.strip() for part in change.partition("="))
        if key not in fields:
            near = closest(key, list(fields))
            hint = f"did you mean --set {near}=…?" if near else f"it has {', '.join(fields)}"
            raise UsageError(f"preset:{preset.name} has no field {key!r}", hint=hint)
        number = whole_number(value)
        if number is None or number < 1:
            raise UsageError(
                f"--set {key} can't be {value!r}: it is a whole number from 1 on", hint=f"it is {fields[key]} now"
            )
        fields[key] = number
    return preset._replace(fields=fields)


class Transformer(nn.Module):
    """The encoder–decoder of Vaswani et al. 2017: no norm after the last layer, no learned positions, and one table for
    both embeddings and the unembedding."""

    def __init__(self, d_model: int, num_heads: int, num_layers: int, d_ff: int, vocab_size: int) -> None:
        super().__init__()
        self.shared = nn.Embedding(vocab_size, d_model)
        encoder_layer = nn.TransformerEncoderLayer(d_model, num_heads, d_ff, batch_first=True)
        decoder_layer = nn.TransformerDecoderLayer(d_model, num_heads, d_ff, batch_first=True)
        self.encoder = nn.TransformerEncoder(encoder_layer, num_layers, enable_nested_tensor=False)
        self.decoder = nn.TransformerDecoder(decoder_layer, num_layers)
        self.lm_head = nn.Linear(d_model, vocab_size, bias=False)
        self.lm_head.weight = self.shared.weight


MODULES: Mapping[str, Callable[[Mapping[str, Any]], nn.Module]] = {
    "transformer": lambda fields: Transformer(**fields),
}
