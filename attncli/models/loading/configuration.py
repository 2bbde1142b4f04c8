"""Reading a model's configuration, and choosing the transformers class to load."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import transformers
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, AutoModel, AutoModelForImageTextToText, PreTrainedConfig, PreTrainedModel
from transformers.dynamic_module_utils import get_class_from_dynamic_module

from attncli.errors import ModelError, reason_of
from attncli.models.files import weight_headers
from attncli.models.loading.forward import Modality
from attncli.models.loading.gguf_weights import lean_gguf_loading
from attncli.models.loading.library_errors import library_errors
from attncli.models.loading.own_code import fetch_code

if TYPE_CHECKING:
    from attncli.models.files.model_files import ModelFiles

#: What transformers and a model's class raise for a configuration with impossible values: almost anything.
CONFIGURATION_ERRORS = (
    StrictDataclassError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    AssertionError,
)


def read_config(files: ModelFiles) -> PreTrainedConfig:
    """The configuration of a model: its config.json, or the metadata of a GGUF file.

    Raises ModelError if there is none, if it isn't JSON, if the installed transformers doesn't know its model_type, and
    if it needs code of the model's own, which isn't trusted.
    """
    if (gguf := gguf_file(files)) is not None:
        return _load_config(files, gguf.parent, None, gguf_file=gguf.name)
    path = files.require("config.json")
    raw = weight_headers.read_model_config(path, repair_hint=files.repair_hint)
    if "auto_map" in raw and files.trusted:
        # The classes as `module.Class`, one or several for each auto class.
        auto_map: Any = raw["auto_map"]
        listed = (value if isinstance(value, list) else [value] for value in auto_map.values())
        fetch_code(files, [name for names in listed for name in names if name])
    elif "auto_map" in raw and raw.get("model_type") not in transformers.CONFIG_MAPPING:
        raise ModelError(
            f"{files.ref.name} needs Python code that comes with it",
            hint="read that code first; --trust-remote-code runs it",
        )
    return _load_config(files, path.parent, raw, trust_remote_code=files.trusted)


def gguf_file(files: ModelFiles) -> Path | None:
    """The path of the GGUF file that the user named, if any; it holds the configuration and the tokenizer too.

    Raises ModelError if the packages to load GGUF files aren't installed.
    """
    model = files if files.base is None else files.base
    name = model.ref.weights_file
    if name is None or not name.endswith(".gguf"):
        return None
    absent = [package for package in ("gguf", "accelerate") if find_spec(package) is None]
    if absent:
        message = f"running the GGUF file {files.ref.name} needs the package {' and '.join(absent)}"
        raise ModelError(message, hint="pip install 'attncli[gguf]'")
    return files.require(name)


def model_class(
    config: PreTrainedConfig, files: ModelFiles, *, modality: Modality | None = None
) -> type[PreTrainedModel]:
    """The class of the base model for a configuration: `AutoModel`'s, else what `architectures` names.

    modality: the input besides text, or instead of it. For pictures, a captioning model is loaded whole, as its base
    model may not take both picture and text (BLIP).
    Raises ModelError if there is no such class.
    """
    own = getattr(config, "auto_map", None) or {}
    if files.trusted and own:
        return custom_class(files, own.get("AutoModel") or own.get("AutoModelForCausalLM") or next(iter(own.values())))
    known = AutoModel._model_mapping.get(type(config), None)
    candidates = known if isinstance(known, (list, tuple)) else [known] if known else []
    declared = [getattr(transformers, name, None) for name in config.architectures or []]
    # If several classes share a configuration, `architectures` says which of them the checkpoint is.
    chosen = next((cls for cls in candidates if cls in declared), None) or next(iter(candidates), None)
    found = chosen or next((cls for cls in declared if cls is not None), None)
    captioning = AutoModelForImageTextToText._model_mapping.get(type(config), None) if modality == "image" else None
    if captioning is not None and (not declared or captioning in declared):
        found = captioning
    if found is None:
        raise ModelError(
            f"transformers {transformers.__version__} has no model for {config.model_type!r}",
            hint="pip install -U transformers, or use another model (-m)",
        )
    cls: type[PreTrainedModel] = found
    return cls


def custom_class(files: ModelFiles, reference: str) -> type[PreTrainedModel]:
    """A class (`module.Class`) in a model's custom code, which the user has allowed to run."""
    folder = str(files.require("config.json").parent)
    return get_class_from_dynamic_module(reference, folder, local_files_only=True)  # type: ignore[no-any-return]


def declared_class(config: PreTrainedConfig) -> type[PreTrainedModel] | None:
    """The class of transformers that `architectures` names. A part of a model may be saved under its own class
    (BartForCausalLM, T5EncoderModel), and the base model of its configuration is then more than the weights hold."""
    return first_model_class(config.architectures or ())


def first_model_class(names: Iterable[object]) -> type[PreTrainedModel] | None:
    """The first class of transformers that has one of these names; others are not imported, as files are untrusted."""
    found = (getattr(transformers, name, None) for name in names if isinstance(name, str))
    return next((cls for cls in found if isinstance(cls, type) and issubclass(cls, PreTrainedModel)), None)


def is_encoder(config: PreTrainedConfig) -> bool:
    """Whether it is of a masked language model. Encoders have a causal class too (BERT as a decoder)."""
    return type(config) in transformers.MODEL_FOR_MASKED_LM_MAPPING and not getattr(config, "is_decoder", False)


def _load_config(files: ModelFiles, folder: Path, raw: dict[str, Any] | None, **options: Any) -> PreTrainedConfig:
    try:
        reading = lean_gguf_loading() if raw is None else nullcontext()
        with library_errors(files.ref.name, catch=(), user=files.ref.name), reading:
            config: PreTrainedConfig = AutoConfig.from_pretrained(str(folder), local_files_only=True, **options)
    except (*CONFIGURATION_ERRORS, OSError) as error:
        raise _bad_config_error(files, raw, error) from error
    return config


def _bad_config_error(files: ModelFiles, raw: dict[str, Any] | None, error: Exception) -> ModelError:
    """raw: the content of config.json; None for a GGUF file."""
    kind = None if raw is None else raw.get("model_type")
    if raw is not None and kind is None:
        return ModelError(
            f"the config.json of {files.ref.name} has no model_type",
            hint="it is not a transformers configuration; add the model_type, or use another model (-m)",
        )
    if raw is not None and kind not in transformers.CONFIG_MAPPING:
        return ModelError(
            f"transformers {transformers.__version__} doesn't know the model_type {kind!r} of {files.ref.name}",
            hint="pip install -U transformers, or use another model (-m)",
        )
    message = f"the configuration of {files.ref.name} is not valid: {reason_of(error)}"
    return ModelError(message, hint=files.repair_hint)
