"""Whether a model writes: goes on from token to token, and so keeps a cache of those before."""

from __future__ import annotations

from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
)


def generates(cls: type[nn.Module], config: object) -> bool:
    """Whether a class writes text itself, or is the body of one that does (LlamaModel).

    Encoders have a causal class as well; they are told by their masked one, unless they say that they decode.
    """
    if issubclass(cls, PreTrainedModel) and cls.can_generate():  # type: ignore[attr-defined]
        return True
    if not isinstance(config, PreTrainedConfig):
        return False
    kind = config.model_type
    if kind in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES:
        return True
    is_encoder = kind in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not getattr(config, "is_decoder", False)
    return kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and not is_encoder
