"""The stacks of a model, read from its module tree: lists of blocks, where attention is, and the hidden states between.

No family is known by name. A stack is an outermost `ModuleList` of blocks. The classes of a block's children show what
mixes its tokens; words in its path show which stack it is (encoder, decoder, vision, …).

State k is what transformers calls `hidden_states[k]`: 0 enters the first block, k leaves block k−1, and the last one
has passed the final norm. States are taken by hooks on the blocks, so that no more than two are held at a time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from attncli.errors import ModelError
from attncli.models.capture.hooks import hooked
from attncli.models.capture.mixing_watch import is_own_code

#: Names of classes of attention modules; MLA is multi-head latent attention.
_ATTENTION_NAMES = re.compile(r"attention|attn|(?-i:MLA$)", re.IGNORECASE)

#: Words in a path that tell which stack a list of blocks is; the first match counts.
_STACK_WORDS = (
    ("vision", ("vision", "visual", "image")),
    ("audio", ("audio", "speech")),
    ("text", ("text_model", "language_model")),
    ("decoder", ("decoder",)),
    ("encoder", ("encoder",)),
)

#: Words in the path of an attention module, within its block, for cross-attention: its keys come from another stack.
_CROSS_WORDS = (
    "cross",
    "encoder_attn",
    "encoder_attention",
    "encoder_decoder",
    "encdec",
    "enc_dec",
    "inter_attention",
)

#: Words in the class of a block's child that doesn't mix tokens, but features, or that normalises.
_NOT_MIXERS = re.compile(
    r"norm|mlp|ffn|feedforward|dropout|droppath|linear$|conv1d$|moe|expert|router|gate$|activation|^gelu|intermediate"
    r"|output$|identity|embedding",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class BlockList:
    """A stack of blocks: the dotted path of its `ModuleList`, the list itself, and the word for the stack in its path.

    A block is one layer, unless it is a list of layers itself (Funnel) or attends several times (LongCat).
    stage: from 1, in a tower that merges patches from one list of blocks to the next (Swin); 0 for other stacks.
    """

    path: str
    blocks: nn.ModuleList
    word: str | None = None
    stage: int = 0

    @property
    def length(self) -> int:
        """The number of layers."""
        return sum(_count_layers(block) for block in self.blocks)

    def describe_layers(self) -> tuple[Block, ...]:
        """What mixes the tokens in each layer. Call it before blocks are removed from the list."""
        # The layers of a block that is a list of them; otherwise the block itself, once for each of its layers.
        layers = (
            block if isinstance(block, nn.ModuleList) else [block] * _count_layers(block) for block in self.blocks
        )
        return tuple(Block(_attends(layer), describe_mixer(layer)) for block in layers for layer in block)

    def first_blocks(self, layers: int) -> nn.ModuleList:
        """The blocks that hold the first `layers` layers."""
        count = next((n for n in range(len(self.blocks)) if self._layers_before(n) >= layers), len(self.blocks))
        return nn.ModuleList(self.blocks[:count])

    def layer_at(self, path: str) -> int:
        """The layer of a module, by its path within the list: `3.attention`, `1.0.attention`, `3.self_attn.1`."""
        block, _, path_in_block = path.partition(".")
        inner = next((int(part) for part in path_in_block.split(".") if part.isdigit()), 0)
        return self._layers_before(int(block)) + (inner if _count_layers(self.blocks[int(block)]) > 1 else 0)

    def layers_of_block(self, layer: int) -> list[int]:
        """This layer, and those in which the same block stands in the list again."""
        if self.length != len(self.blocks) or layer >= self.length:
            return [layer]
        return [number for number, block in enumerate(self.blocks) if block is self.blocks[layer]]

    def _layers_before(self, block: int) -> int:
        return sum(_count_layers(other) for other in self.blocks[:block])


@dataclass(frozen=True)
class Block:
    """A layer of a stack: whether it holds attention, and the class of the module that mixes its tokens."""

    attends: bool
    mixer: str | None


@dataclass(frozen=True)
class Site:
    """Where an attention module is: its stack (None outside of any), its layer, and whether it is cross-attention."""

    block_list: BlockList | None
    block: int
    cross: bool


def block_lists(model: nn.Module) -> list[BlockList]:
    """The stacks of a model, in the order of the module tree; a tower with stages gives a stack for each."""
    found: dict[str, nn.ModuleList] = {}
    for path, module in model.named_modules():
        inside = any(path.startswith(f"{outer}.") for outer in found)
        if not inside and _holds_blocks(module):
            found[path] = module
    decodes = bool(getattr(getattr(model, "config", None), "is_encoder_decoder", False))
    lists = [BlockList(path, blocks, stack_word(path, decodes=decodes)) for path, blocks in found.items()]
    return [part for block_list in lists for part in _stages(block_list) or [block_list]]


def _stages(block_list: BlockList) -> list[BlockList]:
    """The stages of a tower, if every element of its list holds a list of blocks with attention; otherwise none."""
    stages = []
    for place, element in enumerate(block_list.blocks):
        inner = [(name, child) for name, child in element.named_children() if _holds_blocks(child)]
        if not inner or not all(_attends(part) and not is_attention(part) for part in inner[0][1]):
            return []
        name, blocks = inner[0]
        stages.append(BlockList(f"{block_list.path}.{place}.{name}", blocks, block_list.word, place + 1))
    return stages


def stack_word(path: str, *, decodes: bool = False) -> str | None:
    """The word for the stack in a path (`encoder`, `vision`, …), or None where there is none.

    decodes: the model is an encoder–decoder, where `language_model.encoder` is the encoder, and not `text`.
    """
    found = [stack for stack, words in _STACK_WORDS if any(word in path.lower() for word in words)]
    if decodes and found[:1] == ["text"]:
        return found[1] if len(found) > 1 else "text"
    return next(iter(found), None)


def is_tower(path: str) -> bool:
    """Whether a module is part of a tower of pictures or sounds, by its path."""
    return stack_word(path) in ("vision", "audio")


def _holds_blocks(modules: nn.Module) -> TypeGuard[nn.ModuleList]:
    """Whether a module is a list whose elements all have several parts, as a block has; a plain layer has one.

    So is a `Sequential` of blocks of one class (timm), if that is of no library.
    """

    def leaves(module: nn.Module) -> int:
        return sum(1 for part in module.modules() if not any(True for _ in part.children()))

    kinds = {type(child) for child in modules.children()}
    in_turn = isinstance(modules, nn.Sequential) and len(kinds) == 1 and len(modules) > 1
    is_list = (isinstance(modules, nn.ModuleList) and len(modules) > 0) or (
        in_turn and is_own_code(next(modules.children()))
    )
    return is_list and all(leaves(module) > 1 for module in modules.children())


def _count_layers(block: nn.Module) -> int:
    if isinstance(block, nn.ModuleList):
        return len(block)
    inner = (child for child in block.children() if isinstance(child, nn.ModuleList) and len(child))
    return max((len(child) for child in inner if all(is_attention(part) for part in child)), default=1)


def is_attention(module: nn.Module) -> bool:
    """Whether the name of a module's class says that it is attention."""
    return bool(_ATTENTION_NAMES.search(type(module).__name__))


def _attends(block: nn.Module) -> bool:
    return any(is_attention(module) for module in block.modules())


def describe_mixer(block: nn.Module) -> str | None:
    """A block's first child that isn't a norm, an MLP or the like; the block itself where it has no such child."""
    family = type(block).__name__
    for child in block.children():
        name = type(child).__name__
        # Without its family's name, so that no word of that counts (as Moe in GraniteMoeHybrid).
        shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(name, family, strict=False)))
        prefix = re.match(r".*(?=[A-Z])", name[: shared + 1])
        if not _NOT_MIXERS.search(name[prefix.end() :] if prefix else name):
            return name
    return None


def mixer_names(lists: Sequence[BlockList]) -> list[str]:
    """The classes of the modules that mix tokens in these stacks, each once."""
    blocks = (block for block_list in lists for block in block_list.describe_layers())
    return sorted({block.mixer for block in blocks if block.mixer})


def site_of(path: str, lists: Sequence[BlockList]) -> Site:
    """Where the attention module at a dotted path is.

    >>> site_of("encoder.layer.3.attention.self", lists)  # doctest: +SKIP
    Site(block_list=BlockList(path='encoder.layer', …), block=3, cross=False)
    """
    for block_list in lists:
        if path.startswith(f"{block_list.path}."):
            path_in_list = path[len(block_list.path) + 1 :]
            # The path within the block; the name of the list where the block is the attention module itself.
            path_in_block = path_in_list.partition(".")[2] or block_list.path.rpartition(".")[2]
            cross = _is_cross(path_in_block) or _reads_memory(block_list, path_in_list)
            return Site(block_list, block_list.layer_at(path_in_list), cross)
    return Site(None, 0, _is_cross(path))


def _is_cross(path: str) -> bool:
    return any(word in path.lower() for word in _CROSS_WORDS)


def _reads_memory(block_list: BlockList, path_in_list: str) -> bool:
    """Whether it is the cross-attention of torch's own decoder layer, which no word tells."""
    layer, _, name = path_in_list.rpartition(".")
    return name == "multihead_attn" and isinstance(
        dict(block_list.blocks.named_modules()).get(layer), nn.TransformerDecoderLayer
    )


# --- Hidden states of a forward pass

#: Called with the number of a state and the state itself, (batch, tokens, d_model), in order.
StateObserver = Callable[[int, Tensor], None]


def run_with_states(
    run: Callable[..., Any],
    arguments: Mapping[str, Any],
    observe: StateObserver,
    *,
    returns: nn.Module,
    blocks: nn.ModuleList,
    tokens: int,
    virtual: int = 0,
    whole: bool = True,
) -> int:
    """Run a stack once and pass the states between its blocks to `observe`. Returns how many there were.

    run: called with the arguments of the forward pass.  returns: the module whose first output is the last state, after
    its final norm; `run` itself, or a part of it.
    tokens: how many tokens of each text the stack sees.  virtual: how many learned positions come before them.
    whole: all blocks are there, so that the last state is what `returns` returns. Otherwise it is the output of the
    last block, which is the same state as in the whole model.
    Raises ModelError where there isn't one state for each token.
    """
    recorder = _StateRecorder(observe, len(arguments["input_ids"]), tokens, virtual)

    def hooks() -> Iterator[RemovableHandle]:
        for block in blocks:
            yield block.register_forward_pre_hook(recorder.before_block, with_kwargs=True)
            yield block.register_forward_hook(recorder.after_block)
        yield returns.register_forward_hook(recorder.after_stack)

    with torch.no_grad(), hooked(hooks()):
        run(**arguments)
    if whole and recorder.newest is not None and recorder.returned is not None:
        recorder.newest = recorder.of_text(recorder.returned)
    recorder.release()
    return recorder.count


@dataclass
class _StateRecorder:
    """Passes on the states as the blocks run.

    newest: is held back, as the last state of the pass may have to be replaced by that which the stack `returned`.
    """

    observe: StateObserver
    rows: int
    tokens: int
    virtual: int = 0
    count: int = 0
    newest: Tensor | None = None
    returned: Tensor | None = None

    def before_block(self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if self.newest is None:
            # The states are the first argument in every family; masks and positions follow.
            self.newest = self._checked(module, next(v for v in (*args, *kwargs.values()) if isinstance(v, Tensor)))

    def after_block(self, module: nn.Module, _: Any, output: Any) -> None:
        self.release()
        self.newest = self._checked(module, output if isinstance(output, Tensor) else output[0])

    def after_stack(self, _: nn.Module, __: Any, output: Any) -> None:
        self.returned = output[0]

    def release(self) -> None:
        if self.newest is not None:
            self.observe(self.count, self.newest)
            self.count += 1
            self.newest = None

    def of_text(self, state: Tensor) -> Tensor:
        """The states of the tokens, without those of virtual tokens before them, and without the padding at the end
        that some families add to fill their windows."""
        return state[:, self.virtual : self.virtual + self.tokens]

    def _checked(self, module: nn.Module, state: Tensor) -> Tensor:
        if state.ndim != 3 or state.shape[0] != self.rows or state.shape[1] < self.virtual + self.tokens:
            raise ModelError(
                f"the hidden states of {type(module).__name__} can't be read: {self.rows} × {self.tokens} "
                "tokens went in "
                f"and {' × '.join(map(str, state.shape))} numbers came out",
                hint="use another model (-m)",
            )
        return self.of_text(state)
