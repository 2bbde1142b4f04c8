"""A model's configuration and class, without weights."""

from __future__ import annotations

from collections.abc import Sequence
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
from attncli.models.loading.own_code import fetch_code

if TYPE_CHECKING:
    from attncli.models.files.model_files import ModelFiles


def read_config(files: ModelFiles, *, trust_remote_code: bool = False) -> PreTrainedConfig:
    """The configuration behind `files`: config.json, or what a GGUF file says of itself.

    Raises ModelError where there is none, where it isn't JSON, where its model_type is unknown to the installed
    transformers, and where it asks for its own code and `trust_remote_code` isn't set.
    """
    if (gguf := gguf_file(files)) is not None:
        return _auto_config(files, gguf.parent, None, gguf_file=gguf.name)
    path = files.require("config.json")
    raw = weight_headers.read_json(path, repair_hint=files.repair_hint)
    if "auto_map" in raw and trust_remote_code:
        fetch_code(files, _own_classes(raw))
    elif "auto_map" in raw and raw.get("model_type") not in transformers.CONFIG_MAPPING:
        raise ModelError(
            f"{files.ref.name} runs code of its own",
            hint="read that code first; --trust-remote-code lets it run",
        )
    return _auto_config(files, path.parent, raw, trust_remote_code=trust_remote_code)


def gguf_file(files: ModelFiles) -> Path | None:
    """The GGUF file that the user named, if one was: it holds its configuration and its tokenizer too.

    Raises ModelError where the packages that read one aren't installed.
    """
    model = files if files.base is None else files.base
    name = model.ref.named_file
    if name is None or not name.endswith(".gguf"):
        return None
    absent = [package for package in ("gguf", "accelerate") if find_spec(package) is None]
    if absent:
        message = f"running the GGUF file {files.ref.name} needs the package {' and '.join(absent)}"
        raise ModelError(message, hint="pip install 'attncli[gguf]'")
    return files.require(name)


def model_class(
    config: PreTrainedConfig, files: ModelFiles, *, trust_remote_code: bool = False, sense: Modality | None = None
) -> type[PreTrainedModel]:
    """The class of the base model for a configuration: `AutoModel`'s, else what `architectures` names.

    sense: what else than a text it will be given. A model that puts pictures into words is taken whole then: its base
    may have no part that reads both (BLIP).

    Raises ModelError where neither is known.
    """
    own = getattr(config, "auto_map", None) or {}
    if trust_remote_code and own:
        reference = own.get("AutoModel") or own.get("AutoModelForCausalLM") or next(iter(own.values()))
        folder = str(files.require("config.json").parent)
        return get_class_from_dynamic_module(reference, folder, local_files_only=True)  # type: ignore[no-any-return]
    known = AutoModel._model_mapping.get(type(config), None)
    candidates = known if isinstance(known, (list, tuple)) else [known] if known else []
    named = [getattr(transformers, name, None) for name in config.architectures or []]
    # Where several classes share a configuration, the checkpoint says which of them it is.
    chosen = next((cls for cls in candidates if cls in named), None) or next(iter(candidates), None)
    found = _describer(config, named, sense) or chosen or next((cls for cls in named if cls is not None), None)
    if found is None:
        raise ModelError(
            f"transformers {transformers.__version__} has no model for {config.model_type!r}",
            hint="pip install -U transformers, or name another model (-m)",
        )
    cls: type[PreTrainedModel] = found
    return cls


def _describer(
    config: PreTrainedConfig, named: Sequence[type[PreTrainedModel] | None], sense: Modality | None
) -> type[PreTrainedModel] | None:
    """The class that puts what it sees into words, if it is this model's, or nothing says which is."""
    if sense != "image":
        return None
    table = AutoModelForImageTextToText._model_mapping
    describes: type[PreTrainedModel] | None = table.get(type(config), None)
    return describes if not named or describes in named else None


def _auto_config(files: ModelFiles, folder: Path, raw: dict[str, Any] | None, **options: Any) -> PreTrainedConfig:
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(str(folder), local_files_only=True, **options)
    except ImportError as error:
        message = f"{files.ref.name} needs a package that isn't installed: {reason_of(error)}"
        raise ModelError(message, hint="install the package that it names") from error
    except (ValueError, KeyError, TypeError, AttributeError, OSError, StrictDataclassError) as error:
        raise _bad_config(files, raw, error) from error
    return config


def _bad_config(files: ModelFiles, raw: dict[str, Any] | None, error: Exception) -> ModelError:
    """raw: what config.json says; None where the configuration is elsewhere."""
    kind = None if raw is None else raw.get("model_type")
    if raw is not None and kind is None:
        return ModelError(
            f"the config.json of {files.ref.name} names no model_type",
            hint="it isn't a transformers configuration; add the model_type, or name another model (-m)",
        )
    if raw is not None and kind not in transformers.CONFIG_MAPPING:
        return ModelError(
            f"transformers {transformers.__version__} doesn't know the model_type {kind!r} of {files.ref.name}",
            hint="pip install -U transformers, or name another model (-m)",
        )
    message = f"the configuration of {files.ref.name} is not valid: {reason_of(error)}"
    return ModelError(message, hint=files.repair_hint)


def _own_classes(raw: dict[str, Any]) -> list[str]:
    """The classes of its own code that a configuration names, as `module.Class`."""
    values = raw["auto_map"].values()
    listed = (value if isinstance(value, list) else [value] for value in values)
    return [name for names in listed for name in names if name]
