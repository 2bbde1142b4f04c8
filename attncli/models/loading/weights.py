"""Loading a model's weights onto its device (`load_model`), only as many layers as necessary.

Layer k needs the layers 0…k and no others. The configuration isn't changed, as some model types scale their weights by
the number of layers. Instead, a subclass shortens its lists of blocks right after `__init__` (`TruncatedClass`), so
that transformers skips the tensors of the later blocks.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from threading import RLock
from traceback import clear_frames
from typing import TYPE_CHECKING, Any, TypeVar

import transformers
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from attncli.errors import AttnError, ModelError, UsageError, reason_of
from attncli.models.capture.structure import Block, BlockList, block_lists
from attncli.models.loading.adapters import (
    apply_adapter,
    check_applicable,
    read_weights,
    saved_parameters,
    set_label_count,
    trained_class,
)
from attncli.models.loading.configuration import declared_class, model_class, read_config
from attncli.models.loading.device import (
    choose_device,
    choose_dtype,
    device_map_options,
    is_out_of_memory,
    is_spread,
    memory_guard,
)
from attncli.models.loading.forward import Modality, refuse_without_modality
from attncli.models.loading.gguf_weights import lean_gguf_loading
from attncli.models.loading.greedy_decoding import generation_class, generation_config, head_parameter_names
from attncli.models.loading.loaded_model import LoadedModel
from attncli.progress import Progress, silent

if TYPE_CHECKING:
    from attncli.models.files.model_files import ModelFiles
    from attncli.models.files.weight_files import WeightFiles

_Loaded = TypeVar("_Loaded")

#: A function from the stacks of a model to the number of layers needed of each, by path. Others are loaded whole.
Depth = Callable[[Sequence[BlockList]], Mapping[str, int]]


def full_depth(_: Sequence[BlockList]) -> Mapping[str, int]:
    """The depth that loads all layers."""
    return {}


def load_model(
    files: ModelFiles,
    *,
    depth: Depth = full_depth,
    device: str = "auto",
    dtype: str = "auto",
    eager: bool = True,
    with_head: bool = False,
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
    modality: Modality | None = None,
    progress: Progress = silent,
) -> LoadedModel:
    """Load the base model (without a language-model head) from `files`, of each stack the layers that `depth` needs.

    modality: its input besides text, or instead of it.
    eager: use transformers' plain attention, which attention weights need, and not the fastest available one.
    with_head: load the whole model, with its language-model head.

    Raises UsageError for an unavailable device, layer or modality, ModelError for files that can't be loaded, and
    FailedError if memory runs out.
    """
    target = choose_device(device)
    config = read_config(files, trust_remote_code=trust_remote_code)
    cls = model_class(config, files, trust_remote_code=trust_remote_code, modality=modality)
    weights = files.weights(allow_pickle=allow_pickle)
    saved: Mapping[str, Tensor] = {}
    if files.adapter is not None:
        # An adapter decides on the class, and may count the layers: it is applied before any are cut off.
        cls, saved = _adapted_class(cls, config, files, trust_remote_code=trust_remote_code)
    elif with_head:
        cls = generation_class(config) or cls
    if modality is not None:
        refuse_without_modality(cls, modality, files.ref.name)
    classes = [cls, None if files.adapter is not None else declared_class(config)]
    needed = depth if files.adapter is None else full_depth
    attempts = [TruncatedClass(each, needed) for each in dict.fromkeys(classes) if each is not None]

    def load(cut: TruncatedClass) -> tuple[TruncatedClass, PreTrainedModel, dict[str, Any]]:
        cls, number = cut.build(), choose_dtype(dtype, target)
        options = device_map_options(cls, config, number, target, files.ref.name)
        if eager:
            options["attn_implementation"] = "eager"
        if saved:
            options["ignore_mismatched_sizes"] = True
        module, info = _from_pretrained(cls, files, weights, config, dtype=number, **options)
        info = _without_names(info, saved_parameters(saved))
        _refuse_incomplete(module, info, files)
        return cut, module, info

    with loading_progress(progress), memory_guard(target, lambda: _last_built(attempts)):
        cut, module, info = _first_fitting(load, attempts)
        if with_head:
            _refuse_headless(module, info, files)
        adapter = None if files.adapter is None else apply_adapter(module, files, saved)
        blocks = cut.blocks if adapter is None else truncate_stacks(module, depth)
        runs: nn.Module = module if adapter is None else adapter.model
        runs.eval()
        if not is_spread(module):
            runs.to(target)
    missing = _missing_tensors(module, info) - (set() if adapter is None else head_parameter_names(module))
    return LoadedModel(
        name=files.ref.name,
        module=module,
        lists=tuple(block_lists(module)),
        blocks=blocks,
        revision=files.revision,
        warnings=(*_missing_warning(missing), *(() if adapter is None else adapter.warnings)),
        generation=generation_config(files, config) if module.config.is_encoder_decoder else None,
        adapter=adapter,
    )


def _first_fitting(load: Callable[[TruncatedClass], _Loaded], attempts: Sequence[TruncatedClass]) -> _Loaded:
    """The first class that loads with all of its blocks and embeddings, and has the layers that are needed.

    Raises the error of the first one if none does.
    """
    errors: list[AttnError] = []
    for cut in attempts:
        try:
            return load(cut)
        except (ModelError, UsageError) as error:
            errors.append(error)
            # Free the module before the next one is loaded: the frames of the error hold it, too.
            cut.built = None
            clear_frames(error.__traceback__)
    raise errors[0]


def _last_built(attempts: Sequence[TruncatedClass]) -> PreTrainedModel | None:
    return next((cut.built for cut in reversed(attempts) if cut.built is not None), None)


def _adapted_class(
    cls: type[PreTrainedModel], config: PreTrainedConfig, files: ModelFiles, *, trust_remote_code: bool
) -> tuple[type[PreTrainedModel], dict[str, Tensor]]:
    """The class that the adapter was trained on, `cls` where it names none, and the adapter's tensors.

    Gives the configuration as many labels as the adapter has.
    """
    check_applicable(files)
    trained, saved = trained_class(config, files, trust_remote_code=trust_remote_code) or cls, read_weights(files)
    set_label_count(config, trained, saved)
    return trained, saved


def _without_names(info: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """What loading reports, without the tensors that an adapter brings."""
    mismatched = [key for key in info["mismatched_keys"] if (key[0] if isinstance(key, tuple) else key) not in names]
    return {**info, "missing_keys": set(info["missing_keys"]) - set(names), "mismatched_keys": mismatched}


def _from_pretrained(
    cls: type[PreTrainedModel],
    files: ModelFiles,
    weights: WeightFiles,
    config: PreTrainedConfig,
    **options: Any,
) -> tuple[PreTrainedModel, dict[str, Any]]:
    """Call `from_pretrained` with local files only: it makes no request."""
    entry = weights.index or weights.paths[0]
    source: dict[str, Any] = {"use_safetensors": weights.kind == "safetensors"}
    if weights.kind == "gguf":
        source = {"gguf_file": entry.name}
    elif weights.kind == "safetensors":
        # Allows other file names than model.safetensors.
        config.transformers_weights = entry.name
    try:
        with lean_gguf_loading() if weights.kind == "gguf" else nullcontext():
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
    # A configuration or a file of weights that is wrong may raise almost anything.
    except Exception as error:
        if is_out_of_memory(error):
            raise
        # The message of transformers refers to a report that it has logged, which is suppressed.
        reason = "tensors of other shapes than its configuration says" if "mismatch" in str(error) else reason_of(error)
        raise ModelError(
            f"{files.ref.name} can't be loaded: {reason}",
            hint=f"the weights don't fit the configuration beside them: {files.repair_hint}",
        ) from error


def _refuse_incomplete(module: PreTrainedModel, info: Mapping[str, Any], files: ModelFiles) -> None:
    """Raise ModelError if the checkpoint lacks a tensor of a block or an embedding, as attention would then be random.

    Other missing tensors don't matter: checkpoints of other heads omit poolers.
    """
    blocks = [f"{block_list.path}." for block_list in block_lists(module)]
    tables = [f"{path}." for path, part in module.named_modules() if isinstance(part, nn.Embedding)]
    missing = sorted(name for name in _missing_tensors(module, info) if name.startswith((*blocks, *tables)))
    mismatched = sorted(str(key[0]) if isinstance(key, tuple) else str(key) for key in info["mismatched_keys"])
    if missing or mismatched:
        absent = [*missing, *mismatched]
        hint = f"the weights belong to another configuration: {files.repair_hint}"
        if hasattr(module.config, "vision_config") and not mismatched:
            # The base class of a captioning model has a text part that the checkpoint doesn't have (BLIP).
            hint = "give it a picture with --image: its weights may be of a model that reads texts beside one"
        message = f"{files.ref.name}: {len(absent)} tensors of the model aren't in its weights, {absent[0]} first"
        raise ModelError(message, hint=hint)


def _missing_tensors(module: PreTrainedModel, info: Mapping[str, Any]) -> set[str]:
    """The tensors that the weights lack, except those that a class computes itself (Marian's sinusoidal positions). The
    class lists these by their names in the model with its head."""
    computed = [re.compile(pattern) for pattern in module._keys_to_ignore_on_load_missing or ()]
    return {
        name
        for name in info["missing_keys"]
        if not any(pattern.search(f"{module.base_model_prefix}.{name}") for pattern in computed)
    }


def _refuse_headless(module: PreTrainedModel, info: Mapping[str, Any], files: ModelFiles) -> None:
    """Raise ModelError if the head isn't in the weights, as it would be random."""
    missing = sorted(head_parameter_names(module) & set(info["missing_keys"]))
    if missing:
        raise ModelError(
            f"the weights of {files.ref.name} have no language-model head to write with ({missing[0]})",
            hint="leave --generate out, give the text with --target, or name a model with its head (-m)",
        )


def _missing_warning(names: set[str]) -> tuple[str, ...]:
    missing = sorted(names)
    if not missing:
        return ()
    return (
        f"{len(missing)} tensors outside the blocks aren't in the weights and were set at random, {missing[0]} first",
    )


# --- Loading only the first layers


@dataclass
class TruncatedClass:
    """A model class whose stacks are truncated when they are built.

    blocks: all blocks by the stack's path, including those cut off.  built: the module. Both are set when the class
    that `build` returns is instantiated.
    """

    original: type[PreTrainedModel]
    depth: Depth
    blocks: dict[str, tuple[Block, ...]] = field(default_factory=dict)
    built: PreTrainedModel | None = None

    def build(self) -> type[PreTrainedModel]:
        """The subclass. It has the original's name, as transformers looks up the source of classes."""

        def init(model: PreTrainedModel, *args: Any, **kwargs: Any) -> None:
            self.original.__init__(model, *args, **kwargs)
            self._truncate(model)

        names = {"__init__": init, "__module__": self.original.__module__, "__qualname__": self.original.__qualname__}
        return type(self.original.__name__, (self.original,), names)

    def _truncate(self, model: PreTrainedModel) -> None:
        self.built = model
        self.blocks = truncate_stacks(model, self.depth)


def truncate_stacks(model: PreTrainedModel, depth: Depth) -> dict[str, tuple[Block, ...]]:
    """Cut the stacks of a model to the layers that `depth` needs. Returns all blocks by the stack's path.

    A stack whose blocks an adapter has wrapped stays whole, as its first and last one may have a part to play.
    """
    lists = block_lists(model)
    blocks = {block_list.path: block_list.describe_layers() for block_list in lists}
    limits = depth(lists)
    for block_list in lists:
        count = limits.get(block_list.path, block_list.length)
        if count < block_list.length and not any(hasattr(block, "base_layer") for block in block_list.blocks):
            model.set_submodule(block_list.path, block_list.first_blocks(count))
    return blocks


# --- Progress


#: Held while a model is loaded: transformers changes the whole process meanwhile (torch's default format, its hooks).
_LOADING = RLock()


@contextmanager
def loading_progress(progress: Progress) -> Iterator[None]:
    """Report transformers' loading progress to `progress`, and suppress its log messages about loaded tensors.

    Other threads that load a model wait.
    """
    logger = logging.getLogger("transformers")
    with _LOADING:
        level, previous = logger.level, transformers.utils.logging.set_tqdm_hook(_tqdm_hook(progress))
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            transformers.utils.logging.set_tqdm_hook(previous)
            logger.setLevel(level)


def _tqdm_hook(progress: Progress) -> Callable[..., Any]:
    def hook(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _ProgressBar:
        return _ProgressBar(args[0] if args else kwargs.get("iterable"), kwargs.get("total"), progress)

    return hook


class _ProgressBar:
    """The part of tqdm that transformers uses while loading."""

    def __init__(self, iterable: Any, total: int | None, progress: Progress) -> None:
        self._iterable, self._progress, self._done = iterable, progress, 0
        self._total = len(iterable) if total is None and hasattr(iterable, "__len__") else total

    def __iter__(self) -> Iterator[Any]:
        for item in self._iterable:
            yield item
            self.update()

    def update(self, count: int = 1) -> None:
        self._done += count
        self._progress("loading weights", self._done, self._total)

    def __enter__(self) -> _ProgressBar:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Does nothing."""

    def set_postfix(self, *_: Any, **__: Any) -> None:
        """Ignored."""

    def set_description(self, *_: Any, **__: Any) -> None:
        """Ignored."""
