"""Loading a model's weights onto its device (`load_model`), only as many layers as necessary.

Layer k needs the layers 0…k and no others. The configuration isn't changed, as some model types scale their weights by
the number of layers. Instead, a subclass shortens its lists of blocks right after `__init__` (`TruncatedClass`), so
that transformers skips the tensors of the later blocks.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from threading import RLock
from traceback import clear_frames
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import torch
import transformers
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from attncli.errors import AttnError, ModelError, UsageError
from attncli.models.capture.hooks import TorchCalls
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
    memory_guard,
)
from attncli.models.loading.forward import Modality, refuse_without_modality
from attncli.models.loading.gguf_weights import lean_gguf_loading
from attncli.models.loading.greedy_decoding import generation_config, head_parameter_names
from attncli.models.loading.library_errors import library_errors
from attncli.models.loading.loaded_model import LoadedModel
from attncli.models.loading.meta_model import call_without_values
from attncli.models.loading.prediction_head import generation_class, prediction_class, refuse_headless
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
    predicts: bool = False,
    allow_pickle: bool = False,
    modality: Modality | None = None,
    progress: Progress = silent,
) -> LoadedModel:
    """Load the base model (without a language-model head) from `files`, of each stack the layers that `depth` needs.

    modality: its input besides text, or instead of it.
    eager: use transformers' plain attention, which attention weights need, and not the fastest available one.
    with_head: load the whole model, with the language-model head that it writes with.
    predicts: load it with its language-model head, also a masked one, if its weights have one.

    Raises UsageError for an unavailable device, layer or modality, ModelError for files that can't be loaded, and
    FailedError if memory runs out.
    """
    target = choose_device(device)
    number = choose_dtype(dtype, target)
    plan = _plan_loading(
        files,
        depth,
        with_head=with_head,
        predicts=predicts,
        allow_pickle=allow_pickle,
        modality=modality,
    )

    def load(cut: TruncatedClass) -> tuple[TruncatedClass, PreTrainedModel, dict[str, Any]]:
        module, info = _from_pretrained(cut.build(), files, plan, number, target, eager=eager)
        _refuse_incomplete(module, info, files)
        if predicts and cut.original is prediction_class(plan.config):
            refuse_headless(module, _missing_tensors(module, info), files)
        return cut, module, info

    def last_built() -> PreTrainedModel | None:
        return next((cut.built for cut in reversed(plan.attempts) if cut.built is not None), None)

    with loading_progress(progress), memory_guard(target, last_built):
        cut, module, info = _first_fitting(load, plan.attempts)
        if with_head:
            _refuse_headless(module, info, files)
        adapter = None if files.adapter is None else apply_adapter(module, files, plan.saved)
        blocks = cut.blocks if adapter is None else truncate_stacks(module, depth)
        runs: nn.Module = module if adapter is None else adapter.model
        runs.eval()
        # accelerate may have spread it over devices; it must not be moved then.
        if getattr(module, "hf_device_map", None) is None:
            runs.to(target)
    missing = sorted(_missing_tensors(module, info) - (set() if adapter is None else head_parameter_names(module)))
    warnings = () if adapter is None else adapter.warnings
    if missing:
        what = f"{len(missing)} tensors outside the layers are missing in the weights and have random values"
        warnings = (f"{what}, {missing[0]} first", *warnings)
    return LoadedModel(
        name=files.ref.name,
        module=module,
        lists=tuple(block_lists(module)),
        blocks=blocks,
        revision=files.revision,
        warnings=warnings,
        generation=generation_config(files, plan.config) if module.config.is_encoder_decoder else None,
        adapter=adapter,
        is_first_choice=cut is plan.attempts[0],
    )


class _Plan(NamedTuple):
    """What is loaded. attempts: the classes to try, one after another.  saved: the tensors of an adapter."""

    config: PreTrainedConfig
    weights: WeightFiles
    attempts: list[TruncatedClass]
    saved: Mapping[str, Tensor]


def _plan_loading(
    files: ModelFiles,
    depth: Depth,
    *,
    with_head: bool,
    predicts: bool,
    allow_pickle: bool,
    modality: Modality | None,
) -> _Plan:
    config = read_config(files)
    cls = model_class(config, files, modality=modality)
    weights = files.weights(allow_pickle=allow_pickle)
    classes, saved = [cls], dict[str, Tensor]()
    if files.adapter is not None:
        # An adapter decides on the class and the number of labels, and may count the layers: it is applied before any
        # are cut off.
        check_applicable(files)
        classes = [trained_class(config, files) or cls]
        saved = read_weights(files)
        set_label_count(config, classes[0], saved)
        depth = full_depth
    else:
        head = generation_class(config) if with_head else prediction_class(config) if predicts else None
        classes = [head or cls, *([cls] if predicts and head not in (None, cls) else [])]
        if (declared := declared_class(config)) is not None and declared not in classes:
            classes.append(declared)
    if modality is not None:
        refuse_without_modality(classes[0], modality, files.ref.name)
    return _Plan(config, weights, [TruncatedClass(each, depth) for each in classes], saved)


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


def _from_pretrained(
    cls: type[PreTrainedModel],
    files: ModelFiles,
    plan: _Plan,
    dtype: torch.dtype | str,
    target: torch.device,
    *,
    eager: bool,
) -> tuple[PreTrainedModel, dict[str, Any]]:
    """Call `from_pretrained` with local files only: it makes no request. Returns what it reports, too, without the
    tensors that an adapter brings."""
    weights, name = plan.weights, files.ref.name
    entry = weights.index or weights.paths[0]
    options = device_map_options(cls, plan.config, dtype, target, name)
    if weights.kind == "gguf":
        options["gguf_file"] = entry.name
    else:
        options["use_safetensors"] = weights.kind == "safetensors"
    if weights.kind == "safetensors":
        # Allows other file names than model.safetensors.
        plan.config.transformers_weights = entry.name
    if eager:
        options["attn_implementation"] = "eager"
    if plan.saved:
        options["ignore_mismatched_sizes"] = True
    what, hint = f"{name} can't be loaded", f"the weights don't match the configuration: {files.repair_hint}"
    # A configuration or a file of weights that is wrong may raise almost anything.
    reading = lean_gguf_loading() if weights.kind == "gguf" else nullcontext()
    with library_errors(what, hint, catch=(Exception,), user=name), reading, TorchCalls(call_without_values):
        try:
            module, info = cls.from_pretrained(
                str(entry.parent),
                config=plan.config,
                dtype=dtype,
                local_files_only=True,
                output_loading_info=True,
                **options,
            )
        except Exception as error:
            if isinstance(error, AttnError) or "mismatch" not in str(error):
                raise
            # The message of transformers refers to a report that it has logged, which is suppressed.
            raise ValueError("tensors have other shapes than its configuration says") from error
    names = saved_parameters(plan.saved)
    mismatched = [key[0] if isinstance(key, tuple) else key for key in info["mismatched_keys"]]
    info["missing_keys"] = set(info["missing_keys"]) - set(names)
    info["mismatched_keys"] = [key for key in mismatched if key not in names]
    return module, info


def _refuse_incomplete(module: PreTrainedModel, info: Mapping[str, Any], files: ModelFiles) -> None:
    """Raise ModelError if the checkpoint lacks a tensor of a block or an embedding, as attention would then be random.

    Other missing tensors don't matter: checkpoints of other heads omit poolers.
    """
    blocks = [f"{block_list.path}." for block_list in block_lists(module)]
    tables = [f"{path}." for path, part in module.named_modules() if isinstance(part, nn.Embedding)]
    missing = sorted(name for name in _missing_tensors(module, info) if name.startswith((*blocks, *tables)))
    mismatched = sorted(map(str, info["mismatched_keys"]))
    if missing or mismatched:
        absent = [*missing, *mismatched]
        hint = f"the weights don't match the configuration: {files.repair_hint}"
        if hasattr(module.config, "vision_config") and not mismatched:
            # The base class of a captioning model has a text part that the checkpoint doesn't have (BLIP).
            hint = "give a picture with --image: the weights may be of a model that reads pictures with texts"
        raise ModelError(
            f"{files.ref.name}: tensors of the model are missing in its weights ({len(absent)}, {absent[0]} first)",
            hint=hint,
        )


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
            f"the weights of {files.ref.name} have no language-model head ({missing[0]}), so it can't generate text",
            hint="leave --generate out, give the decoder's text with --target, or use a model with a head (-m)",
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
            self.built, self.blocks = model, truncate_stacks(model, self.depth)

        names = {"__init__": init, "__module__": self.original.__module__, "__qualname__": self.original.__qualname__}
        return type(self.original.__name__, (self.original,), names)


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

    def bar(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _ProgressBar:
        return _ProgressBar(args[0] if args else kwargs.get("iterable"), kwargs.get("total"), progress)

    logger = logging.getLogger("transformers")
    with _LOADING:
        level, previous = logger.level, transformers.utils.logging.set_tqdm_hook(bar)
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            transformers.utils.logging.set_tqdm_hook(previous)
            logger.setLevel(level)


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

    def __exit__(self, *_: object) -> None: ...

    def ignore(self, *_: Any, **__: Any) -> None:
        """Does nothing."""

    close = set_postfix = set_description = ignore
