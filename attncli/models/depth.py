"""Reading a model only as deep as a question needs: layer k needs the layers 0…k and no others.

The configuration stays whole, as some families scale their weights by its depth. What is cut is the built class: a
subclass shortens its lists of blocks right after `__init__`, and so loading skips the tensors of the later blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from transformers import PreTrainedModel

from attncli.models.structure import Block, BlockList, block_lists

#: Told the stacks of a model, answers how many layers of each are needed (by path; a stack it leaves out is whole).
Depth = Callable[[Sequence[BlockList]], Mapping[str, int]]


def whole(_: Sequence[BlockList]) -> Mapping[str, int]:
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
        self.blocks = {block_list.path: block_list.described() for block_list in lists}
        limits = self.depth(lists)
        for block_list in lists:
            count = limits.get(block_list.path, block_list.length)
            if count < block_list.length:
                model.set_submodule(block_list.path, block_list.first(count))
