"""A model ready to be looked into: what it is, what it takes, and how to run it under the probe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import transformers
from torch import Tensor, nn
from transformers import GenerationConfig, PreTrainedConfig, PreTrainedModel

from attncli.errors import ModelError
from attncli.models.capture.attention_capture import Observer, run_captured
from attncli.models.capture.structure import (
    Block,
    BlockList,
    Site,
    StateObserver,
    block_lists,
    run_with_states,
    site_of,
)
from attncli.models.loading.device import dtype_name, input_device, memory_guard
from attncli.models.loading.forward import (
    Modality,
    accepted_arguments,
    all_arguments,
    needs_text,
    refuse_without_modality,
)

if TYPE_CHECKING:
    pass

#: Configuration fields that say how many positions a model takes.
_POSITION_FIELDS = ("max_position_embeddings", "n_positions", "max_sequence_length", "seq_length")


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to be looked into.

    lists: its stacks as loaded, maybe cut.  blocks: every block of a stack's path, those that were not read too.
    warnings: what a reader of the results should know about the weights.  generation: how it writes, if it says.
    """

    name: str
    module: PreTrainedModel
    lists: tuple[BlockList, ...]
    blocks: Mapping[str, tuple[Block, ...]]
    revision: str | None = None
    warnings: tuple[str, ...] = ()
    generation: GenerationConfig | None = None

    @property
    def class_name(self) -> str:
        return type(self.module).__name__

    @property
    def device(self) -> torch.device:
        """Where its inputs go; a model that is spread over several devices has its first layers there."""
        return input_device(self.module)

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
        limit = next((limit for limit in limits if isinstance(limit, int) and limit > 0), None)
        return None if limit is None else limit - self._positions_before_the_first(limit)

    def _positions_before_the_first(self, limit: int) -> int:
        """Rows of a position table that no token uses: RoBERTa counts from behind the one of the padding."""
        tables = (part for path, part in self.module.named_modules() if "position" in path)
        padded = (
            part.padding_idx for part in tables if isinstance(part, nn.Embedding) and part.num_embeddings == limit
        )
        return max((index + 1 for index in padded if index is not None), default=0)

    @property
    def segments(self) -> int:
        """How many segments (sentence A, sentence B) the model has an embedding for."""
        count = getattr(self.config, "type_vocab_size", None)
        return count if isinstance(count, int) else 0

    @property
    def accepted_arguments(self) -> frozenset[str]:
        """The names of the arguments that it takes with a text."""
        return accepted_arguments(self.module)

    @property
    def all_arguments(self) -> frozenset[str]:
        """The names of the arguments that it takes at all."""
        return all_arguments(self.module)

    def refuse_without(self, sense: Modality) -> None:
        """Raise UsageError where it takes no pictures, or no sounds."""
        refuse_without_modality(type(self.module), sense, self.name)

    def needs_text(self, arguments: Mapping[str, object]) -> bool:
        """Whether these arguments, without any ids, are too little to run it on."""
        return needs_text(self.module, arguments)

    @property
    def vocabulary_size(self) -> int | None:
        """Rows of the token table; None where there is none, as in models of characters."""
        try:
            weight = getattr(self.module.get_input_embeddings(), "weight", None)
        except NotImplementedError:
            # Dual encoders don't say which of their tables is meant.
            weight = None
        if weight is not None:
            return int(weight.shape[0])
        size = getattr(self.config.get_text_config(), "vocab_size", None)
        return size if isinstance(size, int) and size > 0 else None

    @property
    def decoder_prefix(self) -> tuple[int, ...]:
        """The ids that an encoder–decoder's decoder begins with, see `decoder_prefix`."""
        return decoder_prefix(self.generation, self.config)

    @property
    def decoder_start(self) -> int:
        """The id that an encoder–decoder's decoder starts from."""
        if "decoder_input_ids" in self.all_arguments:
            return self.decoder_prefix[0]
        # A part that writes captions is described by itself.
        names = ("decoder_start_token_id", "bos_token_id", "pad_token_id")
        parts = ((self.config, names), (self.config.get_text_config(), names[1:]))
        values = (getattr(part, name, None) for part, those in parts for name in those)
        return next((value for value in values if isinstance(value, int)), 0)

    @property
    def max_target(self) -> int | None:
        """The number of tokens that its decoder takes, if the configuration says."""
        limit = getattr(self.config, "max_target_positions", None)
        return limit if isinstance(limit, int) else self.max_positions

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

    def attend(self, arguments: Mapping[str, Tensor | bool], observe: Observer) -> tuple[str, ...]:
        """Run the model once on `arguments` (moved to its device) and hand every attention computation to `observe`.

        Answers the paths of the attention modules that ran as well and can't be read.

        Raises ModelError where nothing attends, FailedError where memory runs out.
        """
        moved = self._moved(arguments)
        with memory_guard(self.device, lambda: self.module), _evaluating(self.module):
            return run_captured(self.module, moved, observe)

    def is_whole(self, stack: BlockList) -> bool:
        """Whether all blocks of a stack were loaded."""
        return stack.length == len(self.blocks[stack.path])

    def run_states(self, stack: BlockList, arguments: Mapping[str, Tensor | bool], observe: StateObserver) -> int:
        """Run the model once on `arguments` and hand the states of one stack to `observe`: see `models.states`.

        The encoder of an encoder–decoder runs by itself, unless there is something for the decoder among the arguments.
        """
        moved = self._moved(arguments)
        alone = self.config.is_encoder_decoder and stack.word == "encoder" and "decoder_input_ids" not in moved
        module: nn.Module = self.module.get_encoder() if alone else self.module
        seen = moved.get("decoder_input_ids" if stack.word == "decoder" else "input_ids", moved["input_ids"])
        with memory_guard(self.device, lambda: self.module), _evaluating(module):
            return run_with_states(module, stack.blocks, moved, seen.shape[1], observe, whole=self.is_whole(stack))

    def _moved(self, arguments: Mapping[str, Tensor | bool]) -> dict[str, Any]:
        return {
            name: value.to(self.device) if isinstance(value, Tensor) else value for name, value in arguments.items()
        }


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Without dropout for a while; the modules that were training go on afterwards."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


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
    blocks = {block_list.path: block_list.describe_layers() for block_list in lists}
    called = name or module.config.name_or_path or type(module).__name__
    generation = getattr(module, "generation_config", None)
    if generation is None and module.config.is_encoder_decoder:
        generation = GenerationConfig.from_model_config(module.config)
    return LoadedModel(called, module, tuple(lists), blocks, generation=generation)


def decoder_prefix(generation: GenerationConfig | None, config: PreTrainedConfig) -> tuple[int, ...]:
    """What the decoder of an encoder–decoder is given before anything else: its start token, and the one that it is
    made to write first, if there is such a one (BART's, or the language that a translator writes)."""
    fields = (
        (generation, "decoder_start_token_id"),
        (config, "decoder_start_token_id"),
        (generation, "bos_token_id"),
        (config, "bos_token_id"),
        (config, "pad_token_id"),
    )
    start = next((value for holder, name in fields if isinstance(value := getattr(holder, name, None), int)), 0)
    forced = getattr(generation, "forced_bos_token_id", None)
    return (start, forced) if isinstance(forced, int) else (start,)
