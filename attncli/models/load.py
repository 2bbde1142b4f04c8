"""Files on disk -> a model on its device, read only as deep as asked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from attncli.errors import AttnError, ModelError, reason_of
from attncli.models.depth import CutClass, Depth, whole
from attncli.models.device import choose_device, choose_dtype
from attncli.models.entry import Sense, refuse_without_sense
from attncli.models.loaded import LoadedModel
from attncli.models.loading_bar import loading
from attncli.models.memory import is_out_of_memory, memory_guard
from attncli.models.placement import is_spread, placement
from attncli.models.skeleton import model_class, read_config
from attncli.models.structure import block_lists
from attncli.models.writing import generation_config, head_names, writing_class
from attncli.progress import Progress, silent

if TYPE_CHECKING:
    from attncli.models.files import ModelFiles
    from attncli.models.weights import WeightFiles


def load_model(
    files: ModelFiles,
    *,
    depth: Depth = whole,
    device: str = "auto",
    dtype: str = "auto",
    eager: bool = True,
    writes: bool = False,
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
    sense: Sense | None = None,
    progress: Progress = silent,
) -> LoadedModel:
    """Load the base model (no language-model head) behind `files`, each stack only as deep as `depth` says.

    sense: what it will be given beside a text, or instead of one.
    eager: with transformers' plain attention, as a look at its weights needs; else with the fastest that there is.
    writes: with its language-model head, and whole.

    Raises UsageError for a device, a layer or a sense that isn't there, ModelError for files that don't make a model,
    FailedError where memory runs out.
    """
    target = choose_device(device)
    config = read_config(files, trust_remote_code=trust_remote_code)
    cls = model_class(config, files, trust_remote_code=trust_remote_code, sense=sense)
    if sense is not None:
        refuse_without_sense(cls, sense, files.ref.name)
    weights = files.weights(allow_pickle=allow_pickle)
    cut = CutClass((writing_class(config) or cls) if writes else cls, depth)
    with loading(progress), memory_guard(target, lambda: cut.built):
        cls, number = cut.build(), choose_dtype(dtype, target)
        options = placement(cls, config, number, target, files.ref.name)
        if eager:
            options["attn_implementation"] = "eager"
        module, info = _from_pretrained(cls, files, weights, config, dtype=number, **options)
        _refuse_incomplete(module, info, files)
        if writes:
            _refuse_headless(module, info, files)
        module = _adapted(module, files, whole=writes).eval()
        if not is_spread(module):
            module = module.to(target)
    return LoadedModel(
        name=files.ref.name,
        module=module,
        lists=tuple(block_lists(module)),
        blocks=cut.blocks,
        revision=files.revision,
        warnings=_missing_note(_missing(module, info)),
        generation=generation_config(files, config) if config.is_encoder_decoder else None,
    )


def _adapted(module: PreTrainedModel, files: ModelFiles, *, whole: bool) -> PreTrainedModel:
    """The base model (or all of it) with the adapter applied, if `files` are an adapter's."""
    if files.adapter is None:
        return module
    info = module.load_adapter(str(files.adapter))
    if info.missing_keys:
        raise ModelError(
            f"the adapter {files.ref.name} doesn't fit its base model: {min(info.missing_keys)} isn't in its weights",
            hint="name the base that it was trained on, in base_model_name_or_path of its adapter_config.json",
        )
    return module if whole else module.base_model


def _from_pretrained(
    cls: type[PreTrainedModel],
    files: ModelFiles,
    weights: WeightFiles,
    config: PreTrainedConfig,
    **options: Any,
) -> tuple[PreTrainedModel, dict[str, Any]]:
    """transformers' own loading, from local files alone: no request is made here."""
    entry = weights.index or weights.paths[0]
    source: dict[str, Any] = {"use_safetensors": weights.kind == "safetensors"}
    if weights.kind == "gguf":
        source = {"gguf_file": entry.name}
    elif weights.kind == "safetensors":
        # Names the file, so that one that isn't called model.safetensors loads as well.
        config.transformers_weights = entry.name
    try:
        return cls.from_pretrained(  # type: ignore[no-any-return]
            str(entry.parent),
            config=config,
            local_files_only=True,
            output_loading_info=True,
            **source,
            **options,
        )
    except AttnError:
        raise
    except ImportError as error:
        message = f"{files.ref.name} needs a package that isn't installed: {reason_of(error)}"
        raise ModelError(message, hint="install the package that it names") from error
    except (ValueError, RuntimeError, OSError, LookupError, TypeError, ArithmeticError, AttributeError) as error:
        if is_out_of_memory(error):
            raise
        # transformers points to a report here that it has logged, and not said.
        reason = "tensors of other shapes than its configuration says" if "mismatch" in str(error) else reason_of(error)
        raise ModelError(
            f"{files.ref.name} can't be loaded: {reason}",
            hint=f"the weights don't fit the configuration beside them: {files.mend}",
        ) from error


def _refuse_incomplete(module: PreTrainedModel, info: Mapping[str, Any], files: ModelFiles) -> None:
    """A tensor of a block, or a table of tokens or positions, that the checkpoint lacks would be random, and so would
    be the pattern. What else it lacks doesn't matter: poolers are left out by checkpoints of other heads.
    """
    blocks = [f"{block_list.path}." for block_list in block_lists(module)]
    tables = [f"{path}." for path, part in module.named_modules() if isinstance(part, nn.Embedding)]
    missing = sorted(name for name in _missing(module, info) if name.startswith((*blocks, *tables)))
    mismatched = sorted(str(key[0]) if isinstance(key, tuple) else str(key) for key in info["mismatched_keys"])
    if missing or mismatched:
        lacking = [*missing, *mismatched]
        hint = f"the weights belong to another configuration: {files.mend}"
        if hasattr(module.config, "vision_config") and not mismatched:
            # Of a model that writes captions, the base reads texts by a part of its own, which wasn't trained (BLIP).
            hint = "give it a picture with --image: its weights may be of a model that reads texts beside one"
        message = f"{files.ref.name}: {len(lacking)} tensors of the model aren't in its weights, {lacking[0]} first"
        raise ModelError(message, hint=hint)


def _missing(module: PreTrainedModel, info: Mapping[str, Any]) -> set[str]:
    """What the weights lack. Some classes say which tensors need not be there, as they compute them (Marian's sines of
    positions), by the names that these have in the model with its head."""
    computed = [re.compile(pattern) for pattern in module._keys_to_ignore_on_load_missing or ()]
    return {
        name
        for name in info["missing_keys"]
        if not any(pattern.search(f"{module.base_model_prefix}.{name}") for pattern in computed)
    }


def _refuse_headless(module: PreTrainedModel, info: Mapping[str, Any], files: ModelFiles) -> None:
    """What a random head writes means nothing."""
    missing = sorted(head_names(module) & set(info["missing_keys"]))
    if missing:
        raise ModelError(
            f"the weights of {files.ref.name} have no language-model head to write with ({missing[0]})",
            hint="leave --generate out, give the text with --target, or name a model with its head (-m)",
        )


def _missing_note(names: set[str]) -> tuple[str, ...]:
    missing = sorted(names)
    if not missing:
        return ()
    return (
        f"{len(missing)} tensors outside the blocks aren't in the weights and were set at random, {missing[0]} first",
    )
