"""How a model cuts a picture into patches, and what it puts before them: read off its modules."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from torch import nn

from attncli.models.windows import window_side

#: Parameters that stand for tokens before the patches, and what these are called, in the order of their places.
_BEFORE = (
    ("cls", ("cls_token", "class_token", "class_embedding", "class_embeds")),
    ("dist", ("distillation_token", "dist_token")),
    ("reg", ("register_tokens",)),
)


class PatchLayout(NamedTuple):
    """rows, columns: of patches.  before: the names of the tokens before them.  size: pixels a patch, (height, width).

    window: patches a side, where each attends to those of its own window alone.
    """

    rows: int
    columns: int
    before: tuple[str, ...]
    size: tuple[int, int]
    window: int | None


def patch_layout(module: nn.Module, height: int, width: int) -> PatchLayout | None:
    """The patches of a picture of so many pixels; None where no convolution cuts it."""
    found = next(_cutters(module), None)
    if found is None:
        return None
    path, conv = found
    rows, columns = (
        (pixels + 2 * padding - kernel) // stride + 1
        for pixels, padding, kernel, stride in zip(
            (height, width), _pair(conv.padding), conv.kernel_size, conv.stride, strict=True
        )
    )
    return PatchLayout(
        rows, columns, tuple(_before(module, path)), (conv.stride[0], conv.stride[1]), window_side(module)
    )


def _cutters(module: nn.Module) -> Iterator[tuple[str, nn.Conv2d]]:
    """The convolutions that read a picture's colours: the first in the order of the module tree is the patches'."""
    for path, part in module.named_modules():
        if isinstance(part, nn.Conv2d) and part.in_channels <= 4 and part.groups == 1:
            yield path, part


def _pair(padding: str | tuple[int, ...]) -> tuple[int, int]:
    return (0, 0) if isinstance(padding, str) else (padding[0], padding[-1])


def _before(module: nn.Module, cutter: str) -> Iterator[str]:
    """The tokens that stand in the same embeddings as the convolution does."""
    parents = cutter.split(".")[:-1]
    owners = [module.get_submodule(".".join(parents[:depth])) for depth in range(len(parents), -1, -1)]
    for name, synonyms in _BEFORE:
        held = (dict(owner.named_parameters(recurse=False)) for owner in owners)
        parameter = next((own[each] for own in held for each in synonyms if own.get(each) is not None), None)
        if parameter is not None:
            count = parameter.shape[-2] if parameter.ndim > 1 else 1
            yield from [name] if name != "reg" else [f"reg{number}" for number in range(count)]
