"""Adapters: a few weights in a folder with an adapter_config.json, which names the model that they change."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from attncli.errors import AttnError, ModelError, UsageError
from attncli.models.files import weight_headers
from attncli.models.files.reference import Kind, ModelRef, parse_reference
from attncli.models.files.sources import ADAPTER_CONFIG, Source

_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")


def base_reference(ref: ModelRef, config: Path) -> ModelRef:
    """The model that an adapter changes. Raises ModelError where its configuration names none that can be had."""
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
    # A configuration is someone else's file: it must not be able to make us run a program.
    if base.kind not in (Kind.HUB, Kind.FOLDER, Kind.FILE):
        raise ModelError(
            f"the adapter {ref.name} changes '{name}', which is no model of the hub or a folder", hint=_HINT
        )
    return base


def _unusable_base(ref: ModelRef, name: str, error: AttnError) -> ModelError:
    return ModelError(f"the adapter {ref.name} changes '{name}', and {error.message}", hint=_HINT)


_HINT = "put its base model where base_model_name_or_path in its adapter_config.json says, or correct the name there"


def check_adapter(ref: ModelRef, source: Source, *, allow_pickle: bool) -> None:
    """Make sure that an adapter's weights are on this disk and usable, and that peft is there to apply them.

    Raises ModelError for a missing extra, for missing or broken weights, and for a pickle that isn't allowed.
    """
    if find_spec("peft") is None:
        message = f"{ref.name} is an adapter, and applying one needs the package peft"
        raise ModelError(message, hint="pip install 'attncli[adapters]'")
    name = _weights(ref, source)
    if name.endswith(".bin") and not allow_pickle:
        message = f"the weights of the adapter {ref.name} are a pickle ({name}), which can run any program it holds"
        raise ModelError(message, hint="pass --allow-pickle if you trust where it comes from")
    path = source.find(name)
    if path is not None and name.endswith(".safetensors"):
        weight_headers.read_header(path, repair_hint=source.repair_hint)


def check_adapter_header(ref: ModelRef, source: Source) -> None:
    """Make sure that an adapter has weights with a header, in which their shapes are.

    Raises ModelError for missing weights, and for a pickle.
    """
    name = _weights(ref, source)
    if name.endswith(".bin"):
        message = f"the weights of the adapter {ref.name} are a pickle ({name}), which has no header to read"
        raise ModelError(message, hint=f"save them as {_WEIGHTS[0]}")


def _weights(ref: ModelRef, source: Source) -> str:
    """The name of the file of an adapter's weights."""
    name = next((name for name in _WEIGHTS if source.has(name)), None)
    if name is None:
        message = f"the adapter {ref.name} has no weights: {_WEIGHTS[0]} is missing"
        hint = f"put {_WEIGHTS[0]} beside its {ADAPTER_CONFIG}, or name its base model"
        raise source.why_missing() or ModelError(message, hint=hint)
    return name
