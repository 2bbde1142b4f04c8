"""The class of a model with its language-model head, and the logits in what its forward pass returns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import transformers
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from attncli.errors import ModelError
from attncli.models.loading.configuration import is_encoder

if TYPE_CHECKING:
    from attncli.models.files.model_files import ModelFiles

#: Where outputs keep the logits of a language-model head; the second one beside those of another head.
_LOGITS = ("logits", "prediction_logits")
#: The dimensions of (batch, classes).
_CLASSES = 2


def generation_class(config: PreTrainedConfig) -> type[PreTrainedModel] | None:
    """The class with a language-model head that generates text; None if transformers has none for this architecture."""
    if is_encoder(config) and not config.is_encoder_decoder:
        return None
    mappings = [
        transformers.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING
        if config.is_encoder_decoder
        else transformers.MODEL_FOR_CAUSAL_LM_MAPPING,
        # Models that read pictures too; some are in the first mapping with their language part alone (Mllama).
        transformers.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
        # Models that write what they hear.
        transformers.MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING,
    ]
    listed = [mapping.get(type(config), None) for mapping in mappings]
    found = [each[0] if isinstance(each, tuple | list) else each for each in listed if each is not None]
    declared = config.architectures or []
    return next((cls for cls in found if cls.__name__ in declared), next(iter(found), None))


def predicts_masks(config: PreTrainedConfig) -> bool:
    """Whether a model of this architecture writes in the place of a mask, and not behind the text."""
    return is_encoder(config) and not config.is_encoder_decoder


def prediction_class(config: PreTrainedConfig) -> type[PreTrainedModel] | None:
    """The class with a language-model head, of a decoder, an encoder–decoder or a masked model; None if there is none.

    Of several, the one that the checkpoint was saved as.
    """
    if not predicts_masks(config):
        return generation_class(config)
    listed = transformers.MODEL_FOR_MASKED_LM_MAPPING.get(type(config), None)
    found = list(listed) if isinstance(listed, tuple | list) else [listed]
    declared = config.architectures or []
    chosen: type[PreTrainedModel] | None = next(
        (cls for cls in found if cls is not None and cls.__name__ in declared), found[0]
    )
    return chosen


def refuse_headless(module: PreTrainedModel, missing: set[str], files: ModelFiles) -> None:
    """Raise ModelError if tensors of the head aren't in the weights. missing: the tensors that aren't."""
    base = f"{module.base_model_prefix}."
    of_head = sorted(name for name in missing if not name.startswith(base))
    if of_head:
        raise ModelError(
            f"the weights of {files.ref.name} have no language-model head ({of_head[0]})",
            hint="use a model with its head (-m)",
        )


def has_head(module: PreTrainedModel) -> bool:
    """Whether a model has a language-model head."""
    try:
        return module.get_output_embeddings() is not None
    except NotImplementedError:
        return False


def logits_of(output: Any) -> Tensor | None:
    """The logits that a forward pass returned, (batch, positions, vocabulary); None where there are none.

    A user's own module may return the tensor itself, a tuple that begins with it, or (batch, classes).
    """
    if isinstance(output, Mapping):
        found = next((output[name] for name in _LOGITS if output.get(name) is not None), None)
    else:
        found = output[0] if isinstance(output, tuple | list) and output else output
    if not isinstance(found, Tensor) or not found.is_floating_point():
        return None
    return found.unsqueeze(1) if found.ndim == _CLASSES else found if found.ndim == _CLASSES + 1 else None
