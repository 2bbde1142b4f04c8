"""What a model is made of, read off its module tree: lists of blocks, stacks, and which block a module belongs to.

Nothing here knows a family by name. A stack of blocks is an outermost `ModuleList` of blocks; what a block mixes its
tokens with is told by its children's classes; which stack it is, by the words in its path.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

#: What the class of a module that attends is called.
_ATTENTION_WORDS = ("attention", "attn")

#: Words in a path that say which stack a list of blocks is; the first that matches.
_STACK_WORDS = (
    ("vision", ("vision", "visual", "image")),
    ("audio", ("audio", "speech")),
    ("text", ("text_model", "language_model", "text_encoder")),
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
    """A stack of blocks: the dotted path of its `ModuleList`, and the list itself."""

    path: str
    blocks: nn.ModuleList

    @property
    def length(self) -> int:
        return len(self.blocks)

    @property
    def word(self) -> str | None:
        """The stack that the path speaks of (`encoder`, `vision`, …), or None where it says nothing."""
        path = self.path.lower()
        return next((stack for stack, words in _STACK_WORDS if any(word in path for word in words)), None)

    def described(self) -> tuple[Block, ...]:
        """What each block mixes its tokens with; to be asked before a list is cut."""
        return tuple(Block(_attends(block), _mixer(block)) for block in self.blocks)


@dataclass(frozen=True)
class Block:
    """A block of a stack: whether it holds attention, and the class of what mixes its tokens."""

    attends: bool
    mixer: str | None


@dataclass(frozen=True)
class Site:
    """Where an attention module stands: its list of blocks (None outside of any), its block, and what it reads."""

    block_list: BlockList | None
    block: int
    cross: bool


def block_lists(model: nn.Module) -> list[BlockList]:
    """The outermost module lists of a model whose elements are blocks, in the order of the module tree."""
    found: list[BlockList] = []
    for path, module in model.named_modules():
        inside = any(path.startswith(f"{outer.path}.") for outer in found)
        if isinstance(module, nn.ModuleList) and not inside and _holds_blocks(module):
            found.append(BlockList(path, module))
    return found


def _holds_blocks(modules: nn.ModuleList) -> bool:
    """A block has parts of its own: a list of plain layers doesn't count."""
    return len(modules) > 0 and all(_leaves(module) > 1 for module in modules)


def _leaves(module: nn.Module) -> int:
    return sum(1 for part in module.modules() if not any(True for _ in part.children()))


def named_attention(module: nn.Module) -> bool:
    """Whether a module's class says that it attends."""
    name = type(module).__name__.lower()
    return any(word in name for word in _ATTENTION_WORDS)


def _attends(block: nn.Module) -> bool:
    return any(named_attention(module) for module in block.modules())


def _mixer(block: nn.Module) -> str | None:
    """A block's first child that isn't a norm, an MLP or the like; the block itself where it has no such child."""
    children = [type(child).__name__ for child in block.children()]
    return next((name for name in children if not _NOT_MIXERS.search(name)), None)


def mixers(lists: Sequence[BlockList]) -> list[str]:
    """The classes of everything that mixes tokens in these stacks, each once."""
    blocks = (block for block_list in lists for block in block_list.described())
    return sorted({block.mixer for block in blocks if block.mixer})


def site_of(path: str, lists: Sequence[BlockList]) -> Site:
    """The place of the module at a dotted path.

    >>> site_of("encoder.layer.3.attention.self", lists)  # doctest: +SKIP
    Site(block_list=BlockList(path='encoder.layer', …), block=3, cross=False)
    """
    for block_list in lists:
        if path.startswith(f"{block_list.path}."):
            index, _, within = path[len(block_list.path) + 1 :].partition(".")
            return Site(block_list, int(index), _is_cross(within))
    return Site(None, 0, _is_cross(path))


def _is_cross(path: str) -> bool:
    return any(word in path.lower() for word in _CROSS_WORDS)
