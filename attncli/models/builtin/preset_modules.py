"""Building presets on the meta device, as models of transformers or as plain PyTorch modules."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn
from transformers import CONFIG_MAPPING, PreTrainedConfig

from attncli.errors import UsageError
from attncli.models.builtin.presets import Preset
from attncli.models.loading.configuration import CONFIGURATION_ERRORS
from attncli.models.loading.library_errors import library_errors
from attncli.models.loading.meta_model import empty_module, whole_class


def preset_config(preset: Preset) -> PreTrainedConfig | None:
    """The configuration of a preset; None for a plain module."""
    if preset.module is not None:
        return None
    fields = dict(preset.fields)
    config: PreTrainedConfig = CONFIG_MAPPING[fields.pop("model_type")](**fields)
    return config


def preset_module(preset: Preset) -> nn.Module:
    """The module of a preset, without weights.

    Raises UsageError if it can't be built with the numbers that `--set` has changed.
    """
    config = preset_config(preset)
    if config is not None:
        return empty_module(whole_class(config), config)
    what = f"{preset.title} can't be built with these numbers"
    errors = library_errors(
        what, "set d_model to a multiple of num_heads", raised=UsageError, catch=CONFIGURATION_ERRORS
    )
    with errors, torch.device("meta"):
        return MODULES[str(preset.module)](**preset.fields)


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


MODULES: Mapping[str, type[nn.Module]] = {"transformer": Transformer}
