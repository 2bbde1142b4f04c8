"""`LoadedModel`: a model with its properties (limits, arguments, stacks), and methods to run it and observe it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import GenerationConfig, PreTrainedConfig, PreTrainedModel

from attncli.errors import ModelError
from attncli.limits import MAX_SIZE
from attncli.models.capture.attention_capture import Observer, OutputChange, run_captured, run_changed
from attncli.models.capture.structure import (
    Block,
    BlockList,
    Site,
    StateObserver,
    block_lists,
    run_with_states,
    site_of,
)
from attncli.models.loading.adapters import Adapter
from attncli.models.loading.borrowing import borrow, is_peft_model, refuse_without_numbers, unwrap
from attncli.models.loading.configuration import is_encoder
from attncli.models.loading.device import dtype_name, input_device, memory_guard
from attncli.models.loading.forward import all_arguments
from attncli.models.loading.library_errors import library_errors
from attncli.models.loading.own_module import OwnModule, as_transformers_model
from attncli.models.loading.prediction_head import has_head, predicts_masks

#: Configuration fields with the maximum number of positions.
_POSITION_FIELDS = ("max_position_embeddings", "n_positions", "max_sequence_length", "seq_length")


@dataclass(frozen=True)
class LoadedModel:
    """A model that is ready to run.

    lists: its stacks as loaded, maybe truncated.  blocks: all blocks by the stack's path, including those not loaded.
    warnings: about the weights, for the user.  generation: the generation configuration of an encoder–decoder.
    adapter: what runs it, where an adapter was applied to it.
    is_first_choice: whether no other class was tried before its own.
    """

    name: str
    module: PreTrainedModel
    lists: tuple[BlockList, ...]
    blocks: Mapping[str, tuple[Block, ...]]
    revision: str | None = None
    warnings: tuple[str, ...] = ()
    generation: GenerationConfig | None = None
    adapter: Adapter | None = None
    is_first_choice: bool = True

    @property
    def is_own(self) -> bool:
        """Whether it is a module of the user's own, and none of transformers."""
        return isinstance(self.module, OwnModule)

    @property
    def class_name(self) -> str:
        return type(self.module).__name__

    @property
    def device(self) -> torch.device:
        """The device for its inputs; that of the first layers, if the model is spread over several devices."""
        return input_device(self.module)

    @property
    def dtype(self) -> str:
        floats = (each.dtype for each in self.module.parameters() if each.is_floating_point())
        return dtype_name(next(floats, torch.float32))

    @property
    def config(self) -> PreTrainedConfig:
        return self.module.config

    @property
    def is_encoder_decoder(self) -> bool:
        """Whether it has both: the encoder saved alone (UMT5EncoderModel) may keep the configuration of the whole."""
        decodes = any(name.startswith("decoder_") for name in self.all_arguments)
        return bool(self.config.is_encoder_decoder) and decodes

    @property
    def max_positions(self) -> int | None:
        """The maximum number of tokens according to the configuration; None if it doesn't say."""
        text = self.config.get_text_config()
        limits = (getattr(text, name, None) for name in _POSITION_FIELDS)
        limit = next((limit for limit in limits if isinstance(limit, int) and limit > 0), None)
        if limit is None:
            return None
        # Rows of the position table that no token uses: RoBERTa starts after the padding's row.
        tables = (part for path, part in self.module.named_modules() if "position" in path)
        padded = (
            part.padding_idx for part in tables if isinstance(part, nn.Embedding) and part.num_embeddings == limit
        )
        unused = max((index + 1 for index in padded if index is not None), default=0)
        return limit - unused - self.virtual_tokens

    @property
    def virtual_tokens(self) -> int:
        """How many learned positions an adapter puts before every text."""
        return 0 if self.adapter is None else self.adapter.virtual_tokens

    @property
    def virtual_queries(self) -> int:
        """How many learned positions come before the tokens of the text in every state."""
        adapter = self.adapter
        return self.virtual_tokens if adapter is not None and adapter.has_virtual_queries else 0

    @property
    def segments(self) -> int:
        """The number of segment embeddings (sentence A, sentence B)."""
        count = getattr(self.config, "type_vocab_size", None)
        return count if isinstance(count, int) else 0

    @property
    def all_arguments(self) -> frozenset[str]:
        """The names of all arguments of its forward pass."""
        return all_arguments(self.module)

    @property
    def vocabulary_size(self) -> int | None:
        """Rows of the token embedding; None if there is none, as in character models."""
        try:
            weight = getattr(self.module.get_input_embeddings(), "weight", None)
        except NotImplementedError:
            # Dual encoders have several tables.
            weight = None
        if weight is not None:
            return int(weight.shape[0])
        size = getattr(self.config.get_text_config(), "vocab_size", None)
        return size if isinstance(size, int) and size > 0 else None

    @property
    def picture_token(self) -> int | None:
        """The id of the tokens in a text that the model replaces by a picture; None for a model without them."""
        identifier = getattr(self.config, "image_token_id", None)
        return identifier if isinstance(identifier, int) else None

    @property
    def video_token(self) -> int | None:
        """The id of the tokens in a text that the model replaces by the frames of a video; None if it has none of their
        own."""
        identifier = getattr(self.config, "video_token_id", None)
        return identifier if isinstance(identifier, int) else None

    @property
    def decoder_prefix(self) -> tuple[int, ...]:
        """The first ids of an encoder–decoder's decoder: its start token, and the forced first token, if there is one
        (BART's, or the target language of a translation model). Raises ModelError for ids that no vocabulary has."""
        fields = (
            (self.generation, "decoder_start_token_id"),
            (self.config, "decoder_start_token_id"),
            (self.generation, "bos_token_id"),
            (self.config, "bos_token_id"),
            (self.config, "pad_token_id"),
        )
        start = next((value for holder, name in fields if isinstance(value := getattr(holder, name, None), int)), 0)
        forced = getattr(self.generation, "forced_bos_token_id", None)
        prefix = (start, forced) if isinstance(forced, int) else (start,)
        if not all(0 <= identifier <= MAX_SIZE for identifier in prefix):
            raise ModelError(
                f"the decoder can't begin with the ids {', '.join(map(str, prefix))[:80]}",
                hint="correct decoder_start_token_id or forced_bos_token_id in generation_config.json",
            )
        return prefix

    @property
    def decoder_start(self) -> int:
        """The id that an encoder–decoder's decoder starts with."""
        if "decoder_input_ids" in self.all_arguments:
            return self.decoder_prefix[0]
        # A captioning model has the ids in the configuration of its text part.
        names = ("decoder_start_token_id", "bos_token_id", "pad_token_id")
        parts = ((self.config, names), (self.config.get_text_config(), names[1:]))
        values = (getattr(part, name, None) for part, those in parts for name in those)
        return next((value for value in values if isinstance(value, int)), 0)

    @property
    def max_target(self) -> int | None:
        """The maximum number of tokens of its decoder; None if the configuration doesn't say."""
        limit = getattr(self.config, "max_target_positions", None)
        return limit - self.virtual_tokens if isinstance(limit, int) else self.max_positions

    @property
    def generates(self) -> bool:
        """Whether its architecture is a causal language model, and not also a masked one unless `is_decoder` is set; it
        may read pictures too."""
        kind = type(self.config)
        chats = self.picture_token is not None and not self.config.is_encoder_decoder
        causal = kind in transformers.MODEL_FOR_CAUSAL_LM_MAPPING or (
            chats and kind in transformers.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
        )
        return causal and not is_encoder(self.config)

    @property
    def predicts(self) -> bool:
        """Whether it was loaded with a language-model head."""
        return has_head(self.module)

    @property
    def predicts_masks(self) -> bool:
        """Whether its architecture writes in the place of a mask, and not behind the text."""
        return predicts_masks(self.config)

    def layer_count(self, path: str) -> int:
        """Layers of the stack at a path: its blocks, or the configured depth if blocks are used repeatedly (ALBERT)."""
        stored = len(self.blocks.get(path, ()))
        attending = [blocks for blocks in self.blocks.values() if any(block.attends for block in blocks)]
        depth = getattr(self.config.get_text_config(), "num_hidden_layers", None)
        return max(stored, depth) if len(attending) == 1 and isinstance(depth, int) else stored

    def site_of(self, path: str) -> Site:
        return site_of(path, self.lists)

    def run_attention(self, arguments: Mapping[str, Tensor | bool], observe: Observer) -> tuple[str, ...]:
        """Run the model once on `arguments` (moved to its device) and call `observe` with each attention computation.

        Returns the paths of the attention modules that ran and couldn't be captured.

        Raises ModelError if no attention was captured, FailedError if memory runs out.
        """
        with self._running(arguments) as moved:
            return run_captured(self.module, moved, observe, self.adapter)

    def run_changed(
        self, arguments: Mapping[str, Tensor | bool], change: OutputChange, observe: Observer = lambda *_: None
    ) -> Any:
        """Run the model once with what `change` makes of the weighted values of its heads; see `run_changed`."""
        with self._running(arguments) as moved:
            return run_changed(self.module, moved, change, self.adapter, observe)

    def run(self, arguments: Mapping[str, Tensor | bool]) -> Any:
        """Run the model once on `arguments` (moved to its device), and return what its forward pass does.

        Hooks and replaced blocks act on it: set them while the model is `borrowed`. Raises ModelError if it can't be
        run, FailedError if memory runs out.
        """
        with self._running(arguments) as moved:
            return (self.module if self.adapter is None else self.adapter.with_logits)(**moved)

    def borrowed(self) -> AbstractContextManager[None]:
        """Exclusive use of the module, which is restored afterwards: see `borrow`. Every run does this itself; whoever
        sets hooks around a run does it too."""
        return borrow(self.module if self.adapter is None else self.adapter.model)

    def run_states(self, stack: BlockList, arguments: Mapping[str, Tensor | bool], observe: StateObserver) -> int:
        """Run the model once on `arguments` and call `observe` with the hidden states of one stack (`run_with_states`).

        The encoder of an encoder–decoder runs alone, unless the arguments include decoder ids.
        """
        # Some adapters act in their own forward pass, which runs the whole model.
        alone = self.is_encoder_decoder and stack.word == "encoder" and "decoder_input_ids" not in arguments
        # What a module of the user's own returns may be anything.
        whole = stack.length == len(self.blocks[stack.path]) and not self.is_own
        with self._running(arguments) as moved:
            ids = moved.get("decoder_input_ids" if stack.word == "decoder" else "input_ids", moved["input_ids"])
            returns, virtual = self._without_head(stack), 0
            run: Callable[..., Any] = self.module if self.adapter is None else self.adapter
            if self.adapter is not None:
                virtual = self.adapter.virtual_states(stack.word)
                if alone:
                    moved["decoder_input_ids"] = ids.new_full((len(ids), 1), self.decoder_start)
            elif alone:
                run = returns = self.module.get_encoder()
            tokens = ids.shape[1]
            return run_with_states(
                run, moved, observe, returns=returns, blocks=stack.blocks, tokens=tokens, virtual=virtual, whole=whole
            )

    def _without_head(self, stack: BlockList) -> nn.Module:
        """The module that returns the last states of a stack: an encoder, a decoder, or the model without its head,
        which would make logits of them."""
        module: Any = self.module
        if self.is_encoder_decoder and (self.adapter is not None or stack.word == "decoder"):
            return module.get_encoder() if stack.word == "encoder" else module.get_decoder()  # type: ignore[no-any-return]
        return module.base_model  # type: ignore[no-any-return]

    @contextmanager
    def _running(self, arguments: Mapping[str, Tensor | bool]) -> Iterator[dict[str, Any]]:
        """The module borrowed for a run, with the arguments moved to its device, and errors of the run reported."""
        what = f"{self.class_name} can't be run"
        hint = "correct the module or its inputs; --debug shows where it failed"
        errors = library_errors(what, hint) if self.is_own else library_errors(what)
        with memory_guard(self.device, lambda: self.module), errors, self.borrowed():
            yield {
                name: value.to(self.device) if isinstance(value, Tensor) else value for name, value in arguments.items()
            }


def wrap_model(module: nn.Module, name: str | None = None) -> LoadedModel:
    """A module that the user loaded, as a `LoadedModel`, without the wrappers for training and compiling around it.

    It is not modified: see `borrow`. A module that isn't of transformers becomes an `OwnModule`. Raises ModelError if
    it is no module, or has no weights.
    """
    given, module = module, unwrap(module)
    if is_peft_model(module):
        return wrap_peft_model(module, name)
    if not isinstance(module, nn.Module):
        raise ModelError(
            f"a {type(given).__name__} is not a model",
            hint="model= has to be a name, a path, or a loaded torch.nn.Module",
        )
    model: Any = as_transformers_model(module)
    lists = block_lists(model)
    blocks = {block_list.path: block_list.describe_layers() for block_list in lists}
    name = name or model.config.name_or_path or type(model).__name__
    refuse_without_numbers(model, str(name))
    generation = getattr(model, "generation_config", None)
    if generation is None and model.config.is_encoder_decoder:
        generation = GenerationConfig.from_model_config(model.config)
    return LoadedModel(str(name), model, tuple(lists), blocks, generation=generation)


def wrap_peft_model(model: nn.Module, name: str | None = None) -> LoadedModel:
    """A `peft.PeftModel` that the user loaded, as a `LoadedModel` that runs through it. It is not modified.

    Raises ModelError if its base isn't a transformers model.
    """
    wrapped = wrap_model(model.get_base_model(), name)  # type: ignore[operator]
    adapter = Adapter(model, wrapped.name)
    return replace(wrapped, adapter=adapter, warnings=adapter.warnings)
