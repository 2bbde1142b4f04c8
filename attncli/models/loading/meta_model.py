"""Building a model without weights on the meta device: the whole class of a configuration, including its heads.

Also what can be known from such a module and its class: the names of checkpoint tensors, buffers, and whether the model
generates text.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from importlib import import_module
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any, TypeGuard

import torch
import transformers
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightConverter, rename_source_key
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
)

from attncli.errors import ModelError
from attncli.limits import MAX_BUILT_TENSORS
from attncli.models.capture.hooks import TorchCalls
from attncli.models.loading.configuration import CONFIGURATION_ERRORS, custom_class, is_encoder
from attncli.models.loading.library_errors import library_errors

if TYPE_CHECKING:
    from attncli.models.files.model_files import ModelFiles


#: transformers' tables of classes by configuration, in the order in which they are searched.
_SEQ2SEQ_TABLES = ("AutoModelForSeq2SeqLM", "AutoModelForSpeechSeq2Seq")
# Searched last, for models without a base class (depth estimators, pairs of towers).
_TASK_TABLES = (
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


#: Fields that may be None, and the fields that they are computed from by convention: the first divided by the others.
_CONVENTIONS = (
    ("num_key_value_heads", ("num_attention_heads",)),
    ("head_dim", ("hidden_size", "num_attention_heads")),
)


def whole_class(config: PreTrainedConfig, files: ModelFiles | None = None) -> type[nn.Module]:
    """The class of the whole model, with heads, for a configuration.

    It is the one that `architectures` names; without that, the causal language model for a decoder, the
    sequence-to-sequence model for an encoder–decoder, and the base model for anything else.
    Raises ModelError if transformers has no such class.
    """
    own = getattr(config, "auto_map", None) or {}
    names = [name for name in ("AutoModelForCausalLM", "AutoModelForSeq2SeqLM", "AutoModel") if name in own]
    if files is not None and files.trusted and names:
        return custom_class(files, own[names[0]])
    found = next(_candidate_classes(config), None)
    if found is None:
        raise ModelError(
            f"transformers {transformers.__version__} has no model for {config.model_type!r}",
            hint="pip install -U transformers, or use another model",
        )
    return found


def empty_module(cls: type[nn.Module], config: PreTrainedConfig) -> nn.Module:
    """The module of a configuration on the meta device: names and shapes, but no memory for weights.

    Raises ModelError if the class rejects the configuration, or needs a package that isn't installed.
    """
    if _is_model_class(cls) and not _accepts_config(cls, config):
        # The part of it that the class is made of: the text of Mllama for MllamaForCausalLM.
        config = _part_for_class(cls, config) or config
    completed = _fill_by_convention(config)
    try:
        return _build(cls, config)
    except ModelError:
        # Some classes calculate with fields that their configurations leave None.
        if completed is None:
            raise
        return _build(cls, completed)


def named_class_note(cls: type[nn.Module], config: PreTrainedConfig) -> str | None:
    """Why a model is counted as this class, where its configuration names none or another; None where it names it."""
    named = [str(name) for name in config.architectures or ()]
    if not named:
        return f"config.json has no architectures: counted as {cls.__name__}"
    if cls.__name__ in named:
        return None
    known = getattr(transformers, named[0], None)
    why = "transformers doesn't have" if known is None else "doesn't accept this configuration"
    return f"config.json names {named[0]}, which {why}: counted as {cls.__name__}"


def _is_model_class(cls: Any) -> TypeGuard[type[PreTrainedModel]]:
    # What stands for a class whose packages aren't installed is none, and has no attributes either.
    return inspect.isclass(cls) and issubclass(cls, PreTrainedModel)


def _part_for_class(cls: type[PreTrainedModel], config: PreTrainedConfig) -> PreTrainedConfig | None:
    wanted = getattr(cls, "config_class", None)
    key = getattr(wanted, "base_config_key", "")
    part = getattr(config, key, None) if key else None
    return part if isinstance(part, PreTrainedConfig) and isinstance(part, wanted) else None  # type: ignore[arg-type]


def _fill_by_convention(config: PreTrainedConfig) -> PreTrainedConfig | None:
    """A copy in which fields that are None are computed from others; None if there are none of them."""
    copied = deepcopy(config)
    parts = [copied, *(part for part in vars(copied).values() if isinstance(part, PreTrainedConfig))]
    filled = False
    for part, (field, sources) in product(parts, _CONVENTIONS):
        # Not getattr: configurations with different layers raise for fields without a common value.
        known = vars(part)
        numbers = [known[source] for source in sources if type(known.get(source)) is int and known[source] > 0]
        if known.get(field, 0) is None and len(numbers) == len(sources):
            setattr(part, field, numbers[0] // prod(numbers[1:]))
            filled = True
    return copied if filled else None


def call_without_values(func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Call a function of torch (see `TorchCalls`) while a model is built on the meta device.

    Tensors there hold nothing: they aren't filled, and ranges are made elsewhere first. torch would do both in Python,
    through a library for symbols (sympy) that takes half a second to import.
    """
    if func in _FILLING:
        tensor = args[0] if args else kwargs["tensor"]
        if isinstance(tensor, torch.Tensor) and tensor.is_meta:
            return tensor
    if func is torch.arange and torch.device(kwargs.get("device") or torch.get_default_device()).type == "meta":
        return func(*args, **{**kwargs, "device": "cpu"}).to("meta")
    if func is torch.empty_like and len(args) == 1 and args[0].is_meta and args[0].is_contiguous():
        return torch.empty(args[0].shape, **{"dtype": args[0].dtype, "device": "meta", **kwargs})
    return func(*args, **kwargs)


#: Functions that fill a tensor and return it.
_FILLING = frozenset(
    (
        *(nn.init.normal_, nn.init.uniform_, nn.init.constant_, nn.init.kaiming_uniform_),
        *(torch.Tensor.normal_, torch.Tensor.uniform_, torch.Tensor.fill_, torch.Tensor.zero_),
    )
)


def _build(cls: type[nn.Module], config: PreTrainedConfig) -> nn.Module:
    count = 0

    def call(func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        nonlocal count
        count += func is torch.empty
        if count > MAX_BUILT_TENSORS:
            # A number in a configuration can ask for modules without end: no model has so many tensors.
            raise RuntimeError(f"it needs more than {MAX_BUILT_TENSORS:,} tensors")
        return call_without_values(func, args, kwargs)

    what = f"{cls.__name__} can't be built from its configuration"
    hint = "correct that field in config.json, or use another model"
    errors = library_errors(what, hint, catch=CONFIGURATION_ERRORS, user=cls.__name__)
    with errors, torch.device("meta"), TorchCalls(call):
        return cls(config)


def _candidate_classes(config: PreTrainedConfig) -> Iterator[type[nn.Module]]:
    """Classes that take this configuration, the most likely first."""
    declared: list[Any] = [getattr(transformers, str(name), None) for name in config.architectures or ()]
    accepted = (cls for cls in declared if _is_model_class(cls))
    yield from (cls for cls in accepted if _accepts_config(cls, config) or _part_for_class(cls, config) is not None)
    decoders = () if is_encoder(config) else ("AutoModelForCausalLM",)
    language_models = _SEQ2SEQ_TABLES if getattr(config, "is_encoder_decoder", False) else decoders
    tables = (*language_models, "AutoModel", *_TASK_TABLES)
    listed = [cls for table in tables for cls in _mapped_classes(table, config) if cls is not None]
    yield from (cls for cls in listed if _accepts_config(cls, config))
    yield from _sibling_classes(config)
    # A model type may use a class whose configuration class is another one.
    yield from listed


def _mapped_classes(table: str, config: PreTrainedConfig) -> tuple[Any, ...]:
    auto = getattr(transformers, table, None)  # not every version has every table
    if auto is None:
        return ()
    try:
        found = auto._model_mapping.get(type(config), ())
    except ValueError:
        return ()  # transformers lists a class that it doesn't have
    return tuple(found) if isinstance(found, (list, tuple)) else (found,)


def _accepts_config(cls: Any, config: PreTrainedConfig) -> TypeGuard[type[PreTrainedModel]]:
    """Whether a class takes this configuration itself: a table may list a decoder, which takes a part of it."""
    if not _is_model_class(cls):
        return False
    accepted = getattr(cls, "config_class", None)
    return accepted is None or isinstance(config, accepted)


def _sibling_classes(config: PreTrainedConfig) -> list[type[nn.Module]]:
    """Classes of a part of a model (say, a vision tower), which no table lists: those in its modeling file."""
    name = type(config).__module__.replace(".configuration_", ".modeling_")
    try:
        module = sys.modules.get(name) or import_module(name)
    except ImportError:
        return []  # the modeling file doesn't exist or needs a package that isn't installed
    classes = [cls for cls in vars(module).values() if _accepts_config(cls, config)]
    concrete = [cls for cls in classes if cls.__module__ == name and not cls.__name__.endswith("PreTrainedModel")]
    exact = [cls for cls in concrete if cls.config_class is type(config)]
    # Classes without a head first.
    ordered = sorted(exact, key=lambda cls: not cls.__name__.endswith(("Model", "Encoder", "Decoder", "Transformer")))
    # A small part (say, a prompt encoder) may be a plain module with the name of its configuration.
    namesake = vars(module).get(type(config).__name__.removesuffix("Config"))
    return [*ordered, namesake] if inspect.isclass(namesake) and issubclass(namesake, nn.Module) else ordered


# --- Names of tensors, and generation


def buffer_names(module: nn.Module) -> frozenset[str]:
    """The names of a module's persistent buffers."""
    parameters = {name for name, _ in module.named_parameters(remove_duplicate=False)}
    return frozenset(module.state_dict().keys() - parameters)


def module_names(module: nn.Module, names: Iterable[str]) -> Mapping[str, str]:
    """For each tensor name of a checkpoint, the name of the module's tensor that it is loaded into, or a part of.

    Uses transformers' tables of renamed and merged tensors. Tensors that the module doesn't have are renamed too. For a
    module that isn't of transformers, all names stay.
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
    """Whether a class generates text, or is the base of one that does (LlamaModel), and so has a KV cache.

    Encoders have a causal class too; they are recognized by their masked one, unless `is_decoder` is set.
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
