"""Reading a model only as deep as a question needs: layer k needs the layers 0…k and no others.

The configuration stays whole, as some families scale their weights by its depth. What is cut is the built class: a
subclass shortens its lists of blocks right after `__init__`, and so loading skips the tensors of the later blocks.

transformers' progress bars, told to our listener instead of being drawn.

Files on disk -> a model on its device, read only as deep as asked.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import transformers
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from attncli.errors import AttnError, ModelError, reason_of
from attncli.models.capture.structure import Block, BlockList, block_lists
from attncli.models.loading.configuration import model_class, read_config
from attncli.models.loading.device import (
    choose_device,
    choose_dtype,
    is_out_of_memory,
    is_spread,
    memory_guard,
    placement,
)
from attncli.models.loading.forward import Modality, refuse_without_modality
from attncli.models.loading.greedy_decoding import generation_config, head_names, writing_class
from attncli.models.loading.loaded_model import LoadedModel
from attncli.progress import Progress, silent

if TYPE_CHECKING:
    from attncli.models.files.model_files import ModelFiles
    from attncli.models.files.weight_files import WeightFiles

#: Told the stacks of a model, answers how many layers of each are needed (by path; a stack it leaves out is whole).
Depth = Callable[[Sequence[BlockList]], Mapping[str, int]]


def whole_depth(_: Sequence[BlockList]) -> Mapping[str, int]:
    """The depth that leaves every stack as it is."""
    return {}


@dataclass
class CutClass:
    """A model class whose stacks are shortened as they are built.

    blocks: every block of a stack's path, those that were cut off too.  built: the module, from the moment that it is
    there. Both are filled when the class that `build` answers is instantiated.
    """

    original: type[PreTrainedModel]
    depth: Depth
    blocks: dict[str, tuple[Block, ...]] = field(default_factory=dict)
    built: PreTrainedModel | None = None

    def build(self) -> type[PreTrainedModel]:
        """The subclass. It bears the original's name, whose source transformers looks up."""

        def init(model: PreTrainedModel, *args: Any, **kwargs: Any) -> None:
            self.original.__init__(model, *args, **kwargs)
            self._shorten(model)

        names = {"__init__": init, "__module__": self.original.__module__, "__qualname__": self.original.__qualname__}
        return type(self.original.__name__, (self.original,), names)

    def _shorten(self, model: PreTrainedModel) -> None:
        self.built = model
        lists = block_lists(model)
        self.blocks = {block_list.path: block_list.describe_layers() for block_list in lists}
        limits = self.depth(lists)
        for block_list in lists:
            count = limits.get(block_list.path, block_list.length)
            if count < block_list.length:
                model.set_submodule(block_list.path, block_list.first_blocks(count))


@contextmanager
def loading(progress: Progress) -> Iterator[None]:
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


def load_model(
    files: ModelFiles,
    *,
    depth: Depth = whole_depth,
    device: str = "auto",
    dtype: str = "auto",
    eager: bool = True,
    writes: bool = False,
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
    sense: Modality | None = None,
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
        refuse_without_modality(cls, sense, files.ref.name)
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
            hint=f"the weights don't fit the configuration beside them: {files.repair_hint}",
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
        hint = f"the weights belong to another configuration: {files.repair_hint}"
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
