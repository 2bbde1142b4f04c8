"""Adapters (LoRA and others, applied by peft): finding the base model, checking the weights."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from attncli.errors import AttnError, ModelError, UsageError
from attncli.models.files import weight_headers
from attncli.models.files.reference import Kind, ModelRef, parse_reference
from attncli.models.files.sources import ADAPTER_CONFIG, Source

_WEIGHTS_NAMES = ("adapter_model.safetensors", "adapter_model.bin")
_BASE_HINT = (
    "put its base model where base_model_name_or_path in its adapter_config.json says, or correct the name there"
)


def base_reference(ref: ModelRef, config: Path) -> ModelRef:
    """The base model that an adapter_config.json names. Raises ModelError if it names none or an unusable one."""
    fields = weight_headers.read_json(config)
    name, revision = fields.get("base_model_name_or_path"), fields.get("revision")
    if not isinstance(name, str) or not name:
        hint = f"name the base model there, in base_model_name_or_path: {config}"
        raise ModelError(f"the adapter {ref.name} does not say which model it changes", hint=hint)
    try:
        base = parse_reference(name)
        if base.kind is Kind.HUB and isinstance(revision, str) and revision:
            base = parse_reference(name, revision=revision)
    except (ModelError, UsageError) as error:
        raise _unusable_base(ref, name, error) from error
    # The configuration is untrusted: it must not be able to run code, as `file.py:function` does.
    if base.kind not in (Kind.HUB, Kind.FOLDER, Kind.FILE):
        raise ModelError(
            f"the adapter {ref.name} changes '{name}', which is no model of the hub or a folder", hint=_BASE_HINT
        )
    return base


def _unusable_base(ref: ModelRef, name: str, error: AttnError) -> ModelError:
    return ModelError(f"the adapter {ref.name} changes '{name}', and {error.message}", hint=_BASE_HINT)


def check_adapter(ref: ModelRef, source: Source, *, allow_pickle: bool) -> None:
    """Download an adapter's weights if necessary and check them, and that peft is installed to apply them.

    Raises ModelError if peft is missing, for missing or broken weights, and for a pickle that isn't allowed.
    """
    if find_spec("peft") is None:
        message = f"{ref.name} is an adapter, and applying one needs the package peft"
        raise ModelError(message, hint="pip install 'attncli[adapters]'")
    name = _find_weights_name(ref, source)
    if name.endswith(".bin") and not allow_pickle:
        message = f"the weights of the adapter {ref.name} are a pickle ({name}), which can run any program it holds"
        raise ModelError(message, hint="pass --allow-pickle if you trust where it comes from")
    path = source.find(name)
    if path is not None and name.endswith(".safetensors"):
        weight_headers.read_header(path, repair_hint=source.repair_hint)


def check_adapter_header(ref: ModelRef, source: Source) -> None:
    """Check that an adapter has weights with a header, which lists their shapes.

    Raises ModelError for missing weights, and for a pickle.
    """
    name = _find_weights_name(ref, source)
    if name.endswith(".bin"):
        message = f"the weights of the adapter {ref.name} are a pickle ({name}), which has no header to read"
        raise ModelError(message, hint=f"save them as {_WEIGHTS_NAMES[0]}")


def _find_weights_name(ref: ModelRef, source: Source) -> str:
    """The name of an adapter's weight file."""
    name = next((name for name in _WEIGHTS_NAMES if source.has(name)), None)
    if name is None:
        message = f"the adapter {ref.name} has no weights: {_WEIGHTS_NAMES[0]} is missing"
        hint = f"put {_WEIGHTS_NAMES[0]} beside its {ADAPTER_CONFIG}, or name its base model"
        raise source.listing_error() or ModelError(message, hint=hint)
    return name
