"""What transformers calls a checkpoint's tensors once they are loaded: its own tables of renamed and merged names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn
from transformers import PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightConverter, rename_source_key


def buffer_names(module: nn.Module) -> frozenset[str]:
    """What a module saves beside its parameters."""
    parameters = {name for name, _ in module.named_parameters(remove_duplicate=False)}
    return frozenset(module.state_dict().keys() - parameters)


def module_names(module: nn.Module, names: Iterable[str]) -> Mapping[str, str]:
    """For each name of a checkpoint, that of the tensor in the module which it becomes, or becomes a part of.

    Names that the module doesn't have are given as they would be called. A module that isn't of transformers keeps all
    names as they are.
    """
    if not isinstance(module, PreTrainedModel):
        return {name: name for name in names}
    transforms: list[Any] = get_model_conversion_mapping(module)
    converters = [each for each in transforms if isinstance(each, WeightConverter)]
    renamings = [each for each in transforms if not isinstance(each, WeightConverter)]
    known = module.state_dict()
    prefix = module.base_model_prefix or None
    return {name: rename_source_key(name, renamings, converters, prefix, known)[0] for name in names}
