"""What a model is made of, read off its module tree: lists of blocks, stacks, and which block a module belongs to.

Nothing here knows a family by name. A stack of blocks is an outermost `ModuleList` of blocks; what a block mixes its
tokens with is told by its children's classes; which stack it is, by the words in its path.

The states of a forward pass: what enters each block of a stack, and what leaves its last.

State k is what transformers calls `hidden_states[k]`: 0 enters the first block, k leaves block k−1, and the last one
has passed the final norm. They are taken by hooks on the blocks, one at a time, so that no more than two are alive.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor, nn

from attncli.errors import ModelError

#: What the class of a module that attends is called; MLA is multi-head latent attention.
_ATTENTION_NAMES = re.compile(r"attention|attn|(?-i:MLA$)", re.IGNORECASE)

#: Words in a path that say which stack a list of blocks is; the first that matches.
_STACK_WORDS = (
    ("vision", ("vision", "visual", "image")),
    ("audio", ("audio", "speech")),
    ("text", ("text_model", "language_model")),
    ("decoder", ("decoder",)),
    ("encoder", ("encoder",)),
)

#: Words in the path of an attention module, within its block, that say that its keys come from another stack.
_CROSS_WORDS = ("cross", "encoder_attn", "encoder_attention", "encdec", "enc_dec", "inter_attention")

#: Words in the class of a block's child that mixes features or normalises, but no tokens.
_NOT_MIXERS = re.compile(
    r"norm|mlp|ffn|feedforward|dropout|droppath|linear$|conv1d$|moe|expert|router|gate$|activation|^gelu|intermediate"
    r"|output$|identity|embedding",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class BlockList:
    """A stack of blocks: the dotted path of its `ModuleList`, the list itself, and what its path says that it is.

    A block is a layer, but where it is a list of layers itself (Funnel) or attends several times (LongCat).
    stage: from 1, of a tower that merges patches from one list of blocks to the next (Swin); 0 for any other stack.
    """

    path: str
    blocks: nn.ModuleList
    word: str | None = None
    stage: int = 0

    @property
    def length(self) -> int:
        """How many layers there are."""
        return sum(_count_layers(block) for block in self.blocks)

    def describe_layers(self) -> tuple[Block, ...]:
        """What each layer mixes its tokens with; to be asked before a list is cut."""
        return tuple(Block(_attends(layer), _mixer(layer)) for block in self.blocks for layer in _layers_of(block))

    def first_blocks(self, layers: int) -> nn.ModuleList:
        """The blocks that the first `layers` layers need."""
        count = next((n for n in range(len(self.blocks)) if self._layers_before(n) >= layers), len(self.blocks))
        return nn.ModuleList(self.blocks[:count])

    def layer_at(self, path: str) -> int:
        """The layer of a module, by its path within the list: `3.attention`, `1.0.attention`, `3.self_attn.1`."""
        block, _, within = path.partition(".")
        inner = next((int(part) for part in within.split(".") if part.isdigit()), 0)
        return self._layers_before(int(block)) + (inner if _count_layers(self.blocks[int(block)]) > 1 else 0)

    def _layers_before(self, block: int) -> int:
        return sum(_count_layers(other) for other in self.blocks[:block])


@dataclass(frozen=True)
class Block:
    """A layer of a stack: whether it holds attention, and the class of what mixes its tokens."""

    attends: bool
    mixer: str | None


@dataclass(frozen=True)
class Site:
    """Where an attention module stands: its list of blocks (None outside of any), its layer, and what it reads."""

    block_list: BlockList | None
    block: int
    cross: bool


def block_lists(model: nn.Module) -> list[BlockList]:
    """The outermost module lists of a model whose elements are blocks, in the order of the module tree."""
    found: dict[str, nn.ModuleList] = {}
    for path, module in model.named_modules():
        inside = any(path.startswith(f"{outer}.") for outer in found)
        if isinstance(module, nn.ModuleList) and not inside and _holds_blocks(module):
            found[path] = module
    decodes = bool(getattr(getattr(model, "config", None), "is_encoder_decoder", False))
    lists = [BlockList(path, blocks, stack_word(path, decodes=decodes)) for path, blocks in found.items()]
    return [part for block_list in lists for part in _stages(block_list) or [block_list]]


def _stages(block_list: BlockList) -> list[BlockList]:
    """The stages of a tower, where every element of its list holds a list of blocks that attend."""
    inner = [_stage_blocks(stage) for stage in block_list.blocks]
    return [
        BlockList(f"{block_list.path}.{place}.{name}", blocks, block_list.word, place + 1)
        for place, (name, blocks) in enumerate(each for each in inner if each is not None)
        if None not in inner
    ]


def _stage_blocks(stage: nn.Module) -> tuple[str, nn.ModuleList] | None:
    for name, child in stage.named_children():
        if isinstance(child, nn.ModuleList) and _holds_blocks(child):
            return (name, child) if all(_attends(part) and not is_attention(part) for part in child) else None
    return None


def stack_word(path: str, *, decodes: bool = False) -> str | None:
    """The stack that a path speaks of (`encoder`, `vision`, …), or None where it says nothing.

    In an encoder–decoder, all of `language_model.encoder` and `language_model.decoder` is text.
    """
    said = [stack for stack, words in _STACK_WORDS if any(word in path.lower() for word in words)]
    if decodes and said[:1] == ["text"]:
        return said[1] if len(said) > 1 else "text"
    return next(iter(said), None)


def _holds_blocks(modules: nn.ModuleList) -> bool:
    """A block has parts of its own: a list of plain layers doesn't count."""
    return len(modules) > 0 and all(_count_leaves(module) > 1 for module in modules)


def _count_leaves(module: nn.Module) -> int:
    return sum(1 for part in module.modules() if not any(True for _ in part.children()))


def _layers_of(block: nn.Module) -> Iterable[nn.Module]:
    """A block once for every layer that it stands for; the parts of a list of layers."""
    return block if isinstance(block, nn.ModuleList) else [block] * _count_layers(block)


def _count_layers(block: nn.Module) -> int:
    if isinstance(block, nn.ModuleList):
        return len(block)
    inner = (child for child in block.children() if isinstance(child, nn.ModuleList) and len(child))
    return max((len(child) for child in inner if all(is_attention(part) for part in child)), default=1)


def is_attention(module: nn.Module) -> bool:
    """Whether a module's class says that it attends."""
    return bool(_ATTENTION_NAMES.search(type(module).__name__))


def _attends(block: nn.Module) -> bool:
    return any(is_attention(module) for module in block.modules())


def _mixer(block: nn.Module) -> str | None:
    """A block's first child that isn't a norm, an MLP or the like; the block itself where it has no such child."""
    children = [type(child).__name__ for child in block.children()]
    return next(
        (name for name in children if not _NOT_MIXERS.search(_strip_family_name(name, type(block).__name__))), None
    )


def _strip_family_name(name: str, block: str) -> str:
    """A class's name without that of its family: the `MambaLayer` of a `GraniteMoeHybridDecoderLayer` mixes tokens."""
    shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(name, block, strict=False)))
    family = re.match(r".*(?=[A-Z])", name[: shared + 1])
    return name[len(family[0]) :] if family else name


def mixer_names(lists: Sequence[BlockList]) -> list[str]:
    """The classes of everything that mixes tokens in these stacks, each once."""
    blocks = (block for block_list in lists for block in block_list.describe_layers())
    return sorted({block.mixer for block in blocks if block.mixer})


def site_of(path: str, lists: Sequence[BlockList]) -> Site:
    """The place of the module at a dotted path.

    >>> site_of("encoder.layer.3.attention.self", lists)  # doctest: +SKIP
    Site(block_list=BlockList(path='encoder.layer', …), block=3, cross=False)
    """
    for block_list in lists:
        if path.startswith(f"{block_list.path}."):
            within = path[len(block_list.path) + 1 :]
            return Site(block_list, block_list.layer_at(within), _is_cross(_path_in_block(block_list, within)))
    return Site(None, 0, _is_cross(path))


def _path_in_block(block_list: BlockList, within: str) -> str:
    """What says whether a module reads another stack: its path in its block, or the name of a list of attentions."""
    _, _, path = within.partition(".")
    return path or block_list.path.rpartition(".")[2]


def _is_cross(path: str) -> bool:
    return any(word in path.lower() for word in _CROSS_WORDS)


#: Called with the number of a state and the state itself, (batch, tokens, d_model), in order.
StateObserver = Callable[[int, Tensor], None]


def run_with_states(
    module: nn.Module,
    blocks: nn.ModuleList,
    arguments: Mapping[str, Any],
    tokens: int,
    observe: StateObserver,
    *,
    whole: bool,
) -> int:
    """Run a module once and hand the states of its `blocks` to `observe`. Answers how many there were.

    arguments: keyword arguments of the forward pass.  tokens: how many of them the stack sees of each text.
    whole: all blocks are there, so that the last state is what the module returns, behind its final norm. Otherwise
    it is what leaves the last block, as in the whole model.

    Raises ModelError where the states aren't one for each token.
    """
    taker = _StateRecorder(observe, len(arguments["input_ids"]), tokens)
    with torch.no_grad(), _hooked_blocks(blocks, taker):
        output = module(**arguments)
    taker.finish(output[0] if whole else None)
    return taker.count


@contextmanager
def _hooked_blocks(blocks: nn.ModuleList, taker: _StateRecorder) -> Iterator[None]:
    """Hooks on every block of a stack while a pass runs."""
    with ExitStack() as hooks:
        for block in blocks:
            hooks.callback(block.register_forward_pre_hook(taker.enter, with_kwargs=True).remove)
            hooks.callback(block.register_forward_hook(taker.leave).remove)
        yield


@dataclass
class _StateRecorder:
    """Takes the states as the blocks run. The newest waits: only the end of the pass tells whether it is the last."""

    observe: StateObserver
    rows: int
    tokens: int
    count: int = 0
    newest: Tensor | None = None

    def enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if self.newest is None:
            # The states go first: masks and positions follow, whatever a family calls them.
            self.newest = self._checked(module, next(v for v in (*args, *kwargs.values()) if isinstance(v, Tensor)))

    def leave(self, module: nn.Module, _: Any, output: Any) -> None:
        self._release()
        self.newest = self._checked(module, output if isinstance(output, Tensor) else output[0])

    def finish(self, last: Tensor | None) -> None:
        """last: what the whole stack returned, its final norm behind it."""
        if last is not None and self.newest is not None:
            self.newest = last[:, : self.tokens]
        self._release()

    def _release(self) -> None:
        if self.newest is not None:
            self.observe(self.count, self.newest)
            self.count += 1
            self.newest = None

    def _checked(self, module: nn.Module, state: Tensor) -> Tensor:
        """The states of the tokens, without what a family pads at the end to fill its windows."""
        if state.ndim != 3 or state.shape[0] != self.rows or state.shape[1] < self.tokens:
            raise ModelError(
                f"the states of {type(module).__name__} can't be read: {self.rows} × {self.tokens} tokens went in "
                f"and {' × '.join(map(str, state.shape))} numbers came out",
                hint="name another model (-m)",
            )
        return state[:, : self.tokens]
