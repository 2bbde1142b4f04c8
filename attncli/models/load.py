"""Files on disk -> a model on its device, read only as deep as asked."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
import transformers
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from attncli.errors import AttnError, ModelError, reason_of
from attncli.models.device import choose_device, choose_dtype, dtype_name, is_out_of_memory, out_of_memory
from attncli.models.probe import Observer, run_probed
from attncli.models.skeleton import model_class, read_config
from attncli.models.structure import Block, BlockList, Site, block_lists, site_of
from attncli.progress import Progress, silent

if TYPE_CHECKING:
    from attncli.models.files import ModelFiles

if TYPE_CHECKING:
    from attncli.models.weights import WeightFiles

#: Told the stacks of a model, answers how many blocks of each are needed (by path; a stack it leaves out is whole).
Depth = Callable[[Sequence[BlockList]], Mapping[str, int]]

#: Configuration fields that say how many positions a model takes.
_POSITION_FIELDS = ("max_position_embeddings", "n_positions", "max_sequence_length", "seq_length")


def whole(_: Sequence[BlockList]) -> Mapping[str, int]:
    """The depth that leaves every stack as it is."""
    return {}


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to be looked into.

    lists: its stacks as loaded, maybe cut.  blocks: every block of a stack's path, those that were not read too.
    warnings: what a reader of the results should know about the weights.
    """

    name: str
    module: PreTrainedModel
    lists: tuple[BlockList, ...]
    blocks: Mapping[str, tuple[Block, ...]]
    revision: str | None = None
    warnings: tuple[str, ...] = ()

    @property
    def class_name(self) -> str:
        return type(self.module).__name__

    @property
    def device(self) -> torch.device:
        device: torch.device = next(self.module.parameters()).device
        return device

    @property
    def dtype(self) -> str:
        return dtype_name(next(p.dtype for p in self.module.parameters() if p.is_floating_point()))

    @property
    def config(self) -> PreTrainedConfig:
        return self.module.config

    @property
    def max_positions(self) -> int | None:
        """The number of tokens that the configuration allows, if it says."""
        text = self.config.get_text_config()
        limits = (getattr(text, name, None) for name in _POSITION_FIELDS)
        return next((limit for limit in limits if isinstance(limit, int) and limit > 0), None)

    @property
    def vocabulary_size(self) -> int:
        """Rows of the token table."""
        return int(self.module.get_input_embeddings().weight.shape[0])

    @property
    def decoder_start(self) -> int:
        """The id that an encoder–decoder's decoder starts from."""
        names = ("decoder_start_token_id", "bos_token_id", "pad_token_id")
        values = (getattr(self.config.get_text_config(decoder=True), name, None) for name in names)
        return next((value for value in values if isinstance(value, int)), 0)

    @property
    def generates(self) -> bool:
        """Whether its architecture is one that writes text from left to right, and no masked language model too."""
        kind = type(self.config)
        return kind in transformers.MODEL_FOR_CAUSAL_LM_MAPPING and kind not in transformers.MODEL_FOR_MASKED_LM_MAPPING

    def layer_count(self, path: str) -> int:
        """Layers of the stack at a path: its blocks, or the configured depth where fewer blocks run again and again."""
        stored = len(self.blocks.get(path, ()))
        attending = [blocks for blocks in self.blocks.values() if any(block.attends for block in blocks)]
        depth = getattr(self.config.get_text_config(), "num_hidden_layers", None)
        return max(stored, depth) if len(attending) == 1 and isinstance(depth, int) else stored

    def site_of(self, path: str) -> Site:
        return site_of(path, self.lists)

    def attend(self, arguments: Mapping[str, Tensor | bool], observe: Observer) -> None:
        """Run the model once on `arguments` (moved to its device) and hand every attention computation to `observe`.

        Raises ModelError where nothing attends, FailedError where memory runs out.
        """
        moved = {
            name: value.to(self.device) if isinstance(value, Tensor) else value for name, value in arguments.items()
        }
        with _memory_guard(self.device, lambda: self.module):
            run_probed(self.module, moved, observe)


def wrap_model(module: nn.Module, name: str | None = None) -> LoadedModel:
    """A module that the user loaded, as a `LoadedModel`. It is left as it was after every look.

    Raises ModelError where it isn't a transformers model.
    """
    if not isinstance(module, PreTrainedModel):
        raise ModelError(
            f"a {type(module).__name__} is no transformers model",
            hint="model= takes a name, a path, or a loaded transformers.PreTrainedModel",
        )
    lists = block_lists(module)
    blocks = {block_list.path: block_list.described() for block_list in lists}
    return LoadedModel(name or module.config.name_or_path or type(module).__name__, module.eval(), tuple(lists), blocks)


def load_model(
    files: ModelFiles,
    *,
    depth: Depth = whole,
    device: str = "auto",
    dtype: str = "auto",
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
    progress: Progress = silent,
) -> LoadedModel:
    """Load the base model (no language-model head) behind `files`, each stack only as deep as `depth` says.

    Raises UsageError for a device or a layer that isn't there, ModelError for files that don't make a model,
    FailedError where memory runs out.
    """
    target = choose_device(device)
    config = read_config(files, trust_remote_code=trust_remote_code)
    weights = files.weights(allow_pickle=allow_pickle)
    cut = _CutClass(model_class(config, files, trust_remote_code=trust_remote_code), depth)
    with _loading(progress), _memory_guard(target, lambda: cut.built):
        module, info = _from_pretrained(cut.build(), files, weights, config, choose_dtype(dtype, target))
        _refuse_incomplete(module, info, files)
        module = _adapted(module, files).to(target).eval()
    return LoadedModel(
        name=files.ref.name,
        module=module,
        lists=tuple(block_lists(module)),
        blocks=cut.blocks,
        revision=files.revision,
        warnings=_missing_note(info),
    )


def _adapted(module: PreTrainedModel, files: ModelFiles) -> PreTrainedModel:
    """The base model with the adapter applied, if `files` are an adapter's."""
    if files.adapter is None:
        return module
    info = module.load_adapter(str(files.adapter))
    if info.missing_keys:
        raise ModelError(
            f"the adapter {files.ref.name} doesn't fit its base model: {min(info.missing_keys)} isn't in its weights",
            hint="name the base that it was trained on, in base_model_name_or_path of its adapter_config.json",
        )
    return module.base_model


@dataclass
class _CutClass:
    """A subclass that shortens the stacks of blocks after `__init__`, so that loading skips the later tensors.

    The configuration stays whole, as some families scale their weights by its depth.
    """

    original: type[PreTrainedModel]
    depth: Depth
    blocks: dict[str, tuple[Block, ...]] = field(default_factory=dict)
    built: PreTrainedModel | None = None

    def build(self) -> type[PreTrainedModel]:
        def init(model: PreTrainedModel, *args: Any, **kwargs: Any) -> None:
            self.original.__init__(model, *args, **kwargs)
            self._shorten(model)

        # transformers reads the source of the class's module, so the subclass names the original's.
        names = {"__init__": init, "__module__": self.original.__module__, "__qualname__": self.original.__qualname__}
        return type(self.original.__name__, (self.original,), names)

    def _shorten(self, model: PreTrainedModel) -> None:
        self.built = model
        lists = block_lists(model)
        self.blocks = {block_list.path: block_list.described() for block_list in lists}
        limits = self.depth(lists)
        for block_list in lists:
            count = limits.get(block_list.path, block_list.length)
            if count < block_list.length:
                model.set_submodule(block_list.path, nn.ModuleList(block_list.blocks[:count]))


def _from_pretrained(
    cls: type[PreTrainedModel],
    files: ModelFiles,
    weights: WeightFiles,
    config: PreTrainedConfig,
    dtype: torch.dtype | str,
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
            dtype=dtype,
            attn_implementation="eager",
            local_files_only=True,
            output_loading_info=True,
            **source,
        )
    except AttnError:
        raise
    except ImportError as error:
        message = f"{files.ref.name} needs a package that isn't installed: {reason_of(error)}"
        raise ModelError(message, hint="install the package that it names") from error
    except (ValueError, RuntimeError, OSError, KeyError, TypeError) as error:
        if is_out_of_memory(error):
            raise
        raise ModelError(
            f"{files.ref.name} can't be loaded: {reason_of(error)}",
            hint=f"the weights don't fit the configuration beside them: {files.mend}",
        ) from error


def _refuse_incomplete(module: PreTrainedModel, info: Mapping[str, Any], files: ModelFiles) -> None:
    """A tensor of a block that the checkpoint lacks would be random, and so would be the pattern.

    Only what the blocks hold counts: base models have poolers that checkpoints of other heads leave out.
    """
    inside = tuple(f"{block_list.path}." for block_list in block_lists(module))
    missing = sorted(name for name in info["missing_keys"] if name.startswith(inside))
    mismatched = sorted(str(key[0]) if isinstance(key, tuple) else str(key) for key in info["mismatched_keys"])
    if missing or mismatched:
        lacking = [*missing, *mismatched]
        raise ModelError(
            f"{files.ref.name}: {len(lacking)} tensors of the model aren't in its weights, {lacking[0]} first",
            hint=f"the weights belong to another configuration: {files.mend}",
        )


def _missing_note(info: Mapping[str, Any]) -> tuple[str, ...]:
    missing = sorted(info["missing_keys"])
    if not missing:
        return ()
    return (
        f"{len(missing)} tensors outside the blocks aren't in the weights and were set at random, {missing[0]} first",
    )


@contextmanager
def _memory_guard(device: torch.device, module: Callable[[], nn.Module | None]) -> Iterator[None]:
    """Turn running out of memory into what would fit."""
    try:
        yield
    except AttnError:
        raise
    except (RuntimeError, OSError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        built = module()
        parameters = list(built.parameters()) if built is not None else []
        count = sum(parameter.numel() for parameter in parameters)
        blocks = max((block_list.length for block_list in block_lists(built)), default=1) if built is not None else 1
        dtype = next((parameter.dtype for parameter in parameters if parameter.is_floating_point()), None)
        raise out_of_memory(device, dtype, count, blocks) from error


@contextmanager
def _loading(progress: Progress) -> Iterator[None]:
    """Send transformers' progress to ours, and keep its own reports of what it loaded to itself: ours follow."""
    logger = logging.getLogger("transformers")
    level, previous = logger.level, transformers.utils.logging.set_tqdm_hook(_tqdm_hook(progress))
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        transformers.utils.logging.set_tqdm_hook(previous)
        logger.setLevel(level)


def _tqdm_hook(progress: Progress) -> Callable[..., Any]:
    def hook(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Bar:
        return _Bar(args[0] if args else kwargs.get("iterable"), kwargs.get("total"), progress)

    return hook


class _Bar:
    """As much of tqdm as transformers uses while it loads."""

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

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing is held open."""

    def set_postfix(self, *_: Any, **__: Any) -> None:
        """The reader of our progress has no room for it."""

    def set_description(self, *_: Any, **__: Any) -> None:
        """The reader of our progress has no room for it."""
