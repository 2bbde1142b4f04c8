"""The whole model that a configuration stands for, heads and all, as a module without weights."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any

import torch
import transformers
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.dynamic_module_utils import get_class_from_dynamic_module

from attncli.errors import ModelError, reason_of

if TYPE_CHECKING:
    from attncli.models.files import ModelFiles

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


def whole_class(
    config: PreTrainedConfig, files: ModelFiles | None = None, *, trust_remote_code: bool = False
) -> type[PreTrainedModel]:
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


def empty_module(cls: type[PreTrainedModel], config: PreTrainedConfig) -> PreTrainedModel:
    """The module of a configuration on the meta device: names and shapes, no memory for weights.

    Raises ModelError where the class refuses the configuration, or needs a package that isn't installed.
    """
    try:
        with torch.device("meta"):
            return cls(config)
    except ImportError as error:
        raise ModelError(
            f"{cls.__name__} needs a package that isn't installed: {reason_of(error)}",
            hint="install the package that it names",
        ) from error
    # A class may trip over its configuration in any way that Python knows.
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError, AssertionError) as error:
        raise ModelError(
            f"{cls.__name__} can't be built from its configuration: {reason_of(error)}",
            hint="correct the field that it names in config.json, or name another model",
        ) from error


def _own_class(config: PreTrainedConfig, files: ModelFiles) -> type[PreTrainedModel] | None:
    """The class that comes with a model's own code, which the user has allowed to run."""
    own = getattr(config, "auto_map", None) or {}
    names = [name for name in ("AutoModelForCausalLM", "AutoModelForSeq2SeqLM", "AutoModel") if name in own]
    if not names:
        return None
    folder = str(files.require("config.json").parent)
    return get_class_from_dynamic_module(own[names[0]], folder, local_files_only=True)  # type: ignore[no-any-return]


def _candidates(config: PreTrainedConfig) -> Iterator[type[PreTrainedModel]]:
    """Classes that take this configuration, the likeliest first."""
    named = (getattr(transformers, name, None) for name in config.architectures or ())
    yield from (cls for cls in named if _takes(cls, config))
    for table in (*_language_models(config), "AutoModel", *_TASKS):
        yield from (cls for cls in _listed(table, config) if _takes(cls, config))
    yield from _beside(config)


def _language_models(config: PreTrainedConfig) -> tuple[str, ...]:
    if getattr(config, "is_encoder_decoder", False):
        return _SEQUENCE_TO_SEQUENCE
    # Encoders have a causal class as well (BERT as a decoder), and are told by their masked one.
    masked = _listed("AutoModelForMaskedLM", config)
    return () if masked and not getattr(config, "is_decoder", False) else _DECODERS


def _listed(table: str, config: PreTrainedConfig) -> tuple[Any, ...]:
    try:
        found = getattr(transformers, table)._model_mapping.get(type(config), ())
    except ValueError:
        return ()  # transformers lists a class that it doesn't have
    return tuple(found) if isinstance(found, (list, tuple)) else (found,)


def _takes(cls: Any, config: PreTrainedConfig) -> bool:
    """Whether a class takes this configuration itself, not a part of it: a decoder may be listed for the whole."""
    if not (inspect.isclass(cls) and issubclass(cls, PreTrainedModel)):
        return False
    return cls.config_class is None or isinstance(config, cls.config_class)


def _beside(config: PreTrainedConfig) -> list[type[PreTrainedModel]]:
    """Classes of a part of a model (a vision tower, say), which no table lists: they stand beside its configuration."""
    name = type(config).__module__.replace(".configuration_", ".modeling_")
    try:
        module = sys.modules.get(name) or import_module(name)
    except ImportError:
        return []
    classes = [cls for cls in vars(module).values() if _takes(cls, config) and cls.__module__ == name]
    own = [cls for cls in classes if cls.config_class is type(config) and not cls.__name__.endswith("PreTrainedModel")]
    # A class that holds another one of the list has a head of its own, and comes after it.
    return sorted(own, key=lambda cls: not cls.__name__.endswith(("Model", "Encoder", "Decoder", "Transformer")))
