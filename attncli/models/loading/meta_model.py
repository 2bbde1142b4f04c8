"""What transformers calls a checkpoint's tensors once they are loaded: its own tables of renamed and merged names.

Whether a model writes: goes on from token to token, and so keeps a cache of those before.

The whole model that a configuration stands for, heads and all, as a module without weights.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from importlib import import_module
from math import prod
from typing import TYPE_CHECKING, Any, TypeGuard

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightConverter, rename_source_key
from transformers.dynamic_module_utils import get_class_from_dynamic_module
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
)

from attncli.errors import ModelError, reason_of

if TYPE_CHECKING:
    from attncli.models.files.model_files import ModelFiles


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


#: transformers' tables of classes, in the order in which they are asked for what a configuration stands for.
_SEQUENCE_TO_SEQUENCE = ("AutoModelForSeq2SeqLM", "AutoModelForSpeechSeq2Seq")
_DECODERS = ("AutoModelForCausalLM",)
# Asked last: models that have no base class of their own (a depth estimator, a pair of towers).
_TASKS = (
    "AutoModelForMultimodalLM",
    "AutoModelForImageTextToText",
    "AutoModelForPreTraining",
    "AutoModelForTextToWaveform",
    "AutoModelForImageClassification",
    "AutoModelForObjectDetection",
    "AutoModelForUniversalSegmentation",
    "AutoModelForSemanticSegmentation",
    "AutoModelForDepthEstimation",
    "AutoModelForPoseEstimation",
    "AutoModelForKeypointDetection",
    "AutoModelForKeypointMatching",
    "AutoModelForTableRecognition",
    "AutoModelForImageMatting",
    "AutoModelForDecision",
    "AutoBackbone",
)


#: Fields that may be left open, and what they are then: the first number divided by the others.
_CONVENTIONS = (
    ("num_key_value_heads", ("num_attention_heads",)),
    ("head_dim", ("hidden_size", "num_attention_heads")),
)


def whole_class(
    config: PreTrainedConfig, files: ModelFiles | None = None, *, trust_remote_code: bool = False
) -> type[nn.Module]:
    """The class whose parameters a configuration stands for.

    It is the one that `architectures` names; where that says nothing, the causal language model of a decoder, the
    sequence-to-sequence model of an encoder–decoder, and the base model of anything else.
    Raises ModelError where transformers has no such class.
    """
    if trust_remote_code and files is not None and (own := _own_class(config, files)) is not None:
        return own
    found = next(_candidates(config), None)
    if found is None:
        raise ModelError(
            f"transformers {transformers.__version__} has no model for {config.model_type!r}",
            hint="pip install -U transformers, or name another model",
        )
    return found


def empty_module(cls: type[nn.Module], config: PreTrainedConfig) -> nn.Module:
    """The module of a configuration on the meta device: names and shapes, no memory for weights.

    Raises ModelError where the class refuses the configuration, or needs a package that isn't installed.
    """
    completed = _completed(config)
    try:
        return _built(cls, config)
    except ModelError:
        # Some classes reckon with numbers that their own configurations leave open.
        if completed is None:
            raise
        return _built(cls, completed)


def _completed(config: PreTrainedConfig) -> PreTrainedConfig | None:
    """A copy in which what is left open follows from the rest, as it does by convention; None where nothing is."""
    copied = deepcopy(config)
    parts = [copied, *(part for part in vars(copied).values() if isinstance(part, PreTrainedConfig))]
    filled = [_fill(part, field, source) for part in parts for field, source in _CONVENTIONS]
    return copied if any(filled) else None


def _fill(config: PreTrainedConfig, field: str, sources: tuple[str, ...]) -> bool:
    # Not by getattr: a configuration whose layers differ refuses to name one value for them all.
    known = vars(config)
    numbers = [known[source] for source in sources if type(known.get(source)) is int and known[source] > 0]
    if known.get(field, 0) is not None or len(numbers) < len(sources):
        return False
    first, *divisors = numbers
    setattr(config, field, first // prod(divisors))
    return True


def _on_meta(cls: type[nn.Module], config: PreTrainedConfig) -> nn.Module:
    with torch.device("meta"):
        return cls(config)


def _built(cls: type[nn.Module], config: PreTrainedConfig) -> nn.Module:
    try:
        return _on_meta(cls, config)
    except ImportError as error:
        raise ModelError(
            f"{cls.__name__} needs a package that isn't installed: {reason_of(error)}",
            hint="install the package that it names",
        ) from error
    # A class may trip over its configuration in any way that Python knows.
    except (
        StrictDataclassError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        ArithmeticError,
        RuntimeError,
        AssertionError,
    ) as error:
        raise ModelError(
            f"{cls.__name__} can't be built from its configuration: {reason_of(error)}",
            hint="correct the field that it names in config.json, or name another model",
        ) from error


def _own_class(config: PreTrainedConfig, files: ModelFiles) -> type[nn.Module] | None:
    """The class that comes with a model's own code, which the user has allowed to run."""
    own = getattr(config, "auto_map", None) or {}
    names = [name for name in ("AutoModelForCausalLM", "AutoModelForSeq2SeqLM", "AutoModel") if name in own]
    if not names:
        return None
    folder = str(files.require("config.json").parent)
    return get_class_from_dynamic_module(own[names[0]], folder, local_files_only=True)  # type: ignore[no-any-return]


def _candidates(config: PreTrainedConfig) -> Iterator[type[nn.Module]]:
    """Classes that take this configuration, the likeliest first."""
    named = (getattr(transformers, name, None) for name in config.architectures or ())
    yield from (cls for cls in named if _takes(cls, config))
    tables = (*_language_models(config), "AutoModel", *_TASKS)
    listed = [cls for table in tables for cls in _listed(table, config) if cls is not None]
    yield from (cls for cls in listed if _takes(cls, config))
    yield from _beside(config)
    # A family may use the class of another one, whose configuration its own only resembles.
    yield from listed


def _language_models(config: PreTrainedConfig) -> tuple[str, ...]:
    if getattr(config, "is_encoder_decoder", False):
        return _SEQUENCE_TO_SEQUENCE
    # Encoders have a causal class as well (BERT as a decoder), and are told by their masked one.
    masked = _listed("AutoModelForMaskedLM", config)
    return () if masked and not getattr(config, "is_decoder", False) else _DECODERS


def _listed(table: str, config: PreTrainedConfig) -> tuple[Any, ...]:
    auto = getattr(transformers, table, None)  # not every version has every table
    if auto is None:
        return ()
    try:
        found = auto._model_mapping.get(type(config), ())
    except ValueError:
        return ()  # transformers lists a class that it doesn't have
    return tuple(found) if isinstance(found, (list, tuple)) else (found,)


def _takes(cls: Any, config: PreTrainedConfig) -> TypeGuard[type[PreTrainedModel]]:
    """Whether a class takes this configuration itself, not a part of it: a decoder may be listed for the whole."""
    if not (inspect.isclass(cls) and issubclass(cls, PreTrainedModel)):
        return False
    accepted = getattr(cls, "config_class", None)
    return accepted is None or isinstance(config, accepted)


def _beside(config: PreTrainedConfig) -> list[type[nn.Module]]:
    """Classes of a part of a model (a vision tower, say), which no table lists: they stand beside its configuration."""
    name = type(config).__module__.replace(".configuration_", ".modeling_")
    try:
        module = sys.modules.get(name) or import_module(name)
    except ImportError:
        return []  # its module needs a package that isn't there, or it has no module of its own
    classes = [cls for cls in vars(module).values() if _takes(cls, config)]
    concrete = [cls for cls in classes if cls.__module__ == name and not cls.__name__.endswith("PreTrainedModel")]
    own = [cls for cls in concrete if cls.config_class is type(config)]
    # A class that holds another one of the list has a head of its own, and comes after it.
    ordered = sorted(own, key=lambda cls: not cls.__name__.endswith(("Model", "Encoder", "Decoder", "Transformer")))
    # A small part (a prompt encoder) may be a plain module, called as its configuration is.
    namesake = vars(module).get(type(config).__name__.removesuffix("Config"))
    return [*ordered, namesake] if inspect.isclass(namesake) and issubclass(namesake, nn.Module) else ordered
